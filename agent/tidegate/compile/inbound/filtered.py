"""EnvoyFilters on what comes to a pod: patches of context SIDECAR_INBOUND or ANY, on its inbound listener, the routes
in it and the clusters behind it. Pure.

Which ports pass Envoy follows from what the patches do: a filter chain with its routes and cluster that is afterwards
what it was before is left out, and the kernel leaves that port alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from tidegate.compile.envoy.patches import clusters, routes
from tidegate.compile.envoy.patches import listeners as patching
from tidegate.compile.envoy.patches.lists import Failures, tried
from tidegate.compile.envoy.patches.selection import NOTHING, Patches, Selected, Selection
from tidegate.compile.envoy.patches.served import PatchedPort
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.inbound import listeners
from tidegate.compile.inbound.mutual import ended
from tidegate.compile.inbound.ports import ServedPort
from tidegate.compile.visibility import Source
from tidegate.model.envoy_filter import ApplyTo, ClusterMatch, Context, RouteMatch
from tidegate.model.identity import identity_of
from tidegate.model.kube import Pod, Protocol
from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.workload import Sandbox

_ANY_ROUTES, _ANY_CLUSTER = RouteMatch(), ClusterMatch()
_NOBODY = Sandbox(WorkloadId("", ""), "", "", 0, ())  # on whose listener patches are tried


@dataclass(frozen=True, slots=True)
class Inbound:
    """What stands in front of a pod. ports: where it stands, never none."""

    listener: EnvoyResource
    clusters: Mapping[str, EnvoyResource]
    ports: tuple[int, ...]


@dataclass(slots=True, eq=False)
class InboundFilters:
    """The EnvoyFilters in force, for what comes to pods."""

    selection: Selection = field(default_factory=Selection)
    failures: Failures = field(default_factory=list)  # patches that could not be applied to what was made so far
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], Selected] = field(default_factory=dict)

    def of(self, source: Source) -> Selected:
        """The patches for what comes to one pod."""
        if not self.selection:
            return NOTHING
        key = (source.namespace, tuple(sorted(source.labels.items())))
        if key not in self._known:
            self._known[key] = self.selection.of(source, Context.SIDECAR_INBOUND)
        return self._known[key]

    def before(
        self,
        sandbox: Sandbox,
        pod: Pod,
        ports: Sequence[ServedPort],
        selected: Selected,
        origins: tuple[Origin, ...],
        domains: Sequence[str] = (),
    ) -> Inbound | None:
        """What stands in front of a pod with these ports; None if neither a patch nor a Sidecar asks for it, nor a rule
        for mutual TLS. domains: whose clients that takes."""
        patched = selected.listener or selected.routes or selected.cluster
        if not ports or not (patched or any(port.told for port in ports)):
            return None
        served = [_served(port, pod) for port in ports]
        plain = to_json(message_of(MESSAGES[ApplyTo.LISTENER], listeners.listener(sandbox, ports)))
        chains = [self._routed(c, it, selected) for c, it in zip(plain["filter_chains"], served, strict=True)]
        routed = {**plain, "filter_chains": chains}
        body = patching.patched(routed, selected.listener, base(plain, served), self.failures)
        before, after = _apart(plain), _apart(body)
        made, kept = {}, []
        for port, it, was, chain in zip(ports, served, before[1], after[1], strict=True):
            cluster = self._cluster(port, it, sandbox.netns_cookie, selected, origins)
            if port.told or before[0] != after[0] or was != chain or cluster[1]:
                made[cluster[0].name] = cluster[0]
                kept.append((port, chain))
        if not kept:
            return None
        added = clusters.added(selected.cluster)
        used = (*selected.listener, *selected.routes, *selected.cluster)
        resource = EnvoyResource(
            listeners.listener_name(sandbox),
            ended(body, kept, identity_of(pod).served_by, domains),
            (*origins, *dict.fromkeys(patch.origin for patch in used)),
            frozenset(ResourceRef(CLUSTERS, name) for name in (*made, *added)),
        )
        return Inbound(resource, made, tuple(port.number for port, _ in kept))

    def concerning(self, pod: Pod, source: Source, port: ServedPort) -> Patches:
        """The patches that may change what comes to a port, for those who ask why."""
        selected, it = self.of(source), _served(port, pod)
        name = listeners.table_name(port.number)
        http = port.protocol.is_http
        return (
            *(
                p
                for p in selected.listener
                if (http or p.apply_to is not ApplyTo.HTTP_FILTER) and (p.listener is None or it.fits(p.listener))
            ),
            *(p for p in selected.routes if http and it.fits_routes(p.routes or _ANY_ROUTES, name)),
            *(p for p in selected.cluster if it.fits_cluster(p.cluster or _ANY_CLUSTER, p.operation, name)),
        )

    def _routed(self, chain: Json, it: PatchedPort, selected: Selected) -> Json:
        """A filter chain with the patches of routes."""
        name = listeners.table_name(it.port)
        manager = chain["filters"][-1]["typed_config"]
        mine = [p for p in routes.in_order(selected.routes) if it.fits_routes(p.routes or _ANY_ROUTES, name)]
        if not mine or "route_config" not in manager:
            return chain
        message = message_of(MESSAGES[ApplyTo.ROUTE_CONFIGURATION], manager["route_config"])
        for patch in mine:
            with tried(message, patch, self.failures):
                routes.patch_own(message, patch)
        last = {**chain["filters"][-1], "typed_config": {**manager, "route_config": to_json(message)}}
        return {**chain, "filters": [*chain["filters"][:-1], last]}

    def _cluster(
        self, port: ServedPort, it: PatchedPort, cookie: int, selected: Selected, origins: tuple[Origin, ...]
    ) -> tuple[EnvoyResource, bool]:
        """The cluster of a port, and whether patches make another one of it."""
        body = listeners.cluster(port, cookie)
        name = listeners.table_name(port.number)
        mine = [p for p in selected.cluster if it.fits_cluster(p.cluster or _ANY_CLUSTER, p.operation, name)]
        plain = EnvoyResource(body["name"], body, origins)
        if not mine:
            return plain, False
        made = clusters.patched(body, mine, self.failures)
        if _unordered(made) == _unordered(to_json(message_of(MESSAGES[ApplyTo.CLUSTER], body))):
            return plain, False
        told = (*origins, *dict.fromkeys(patch.origin for patch in mine))
        return replace(plain, body=made, origins=told, plain=lambda: plain), True


def shown_on() -> tuple[Json, patching.Base]:
    """A listener on which each patch is tried by itself: with HTTP, and without."""
    ports = (ServedPort(1, Protocol.HTTP), ServedPort(2))
    body = listeners.listener(_NOBODY, ports)
    return body, base(body, [PatchedPort(port=port.number) for port in ports])


def base(body: Mapping[str, Any], served: Sequence[PatchedPort]) -> patching.Base:
    """What a pod's inbound listener is like before it is patched."""
    return patching.Base(served=served, own_network=len(body["filter_chains"][0]["filters"]) - 1)


def _served(port: ServedPort, pod: Pod) -> PatchedPort:
    return PatchedPort(
        port=port.number,
        services=[(led.number, led.name) for led in port.services],
        hosts=[led.fqdn for led in port.services],
        addresses=[ip_network(str(ip)) for ip in pod.ips],
    )


def _apart(body: Mapping[str, Any]) -> tuple[Json, list[Json]]:
    """What a listener is beside its filter chains, and those."""
    return {key: _unordered(value) for key, value in body.items() if key != "filter_chains"}, _unordered(
        body["filter_chains"]
    )


def _unordered(value: Any) -> Any:
    """Messages are written as dictionaries with an order, in which equal ones may differ."""
    if isinstance(value, Mapping):
        return {key: _unordered(item) for key, item in value.items()}
    return [_unordered(item) for item in value] if isinstance(value, list) else value
