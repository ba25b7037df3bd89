"""EnvoyFilters at an Envoy that is not ours: patches for sidecars, on what is this client's alone. Pure.

As at a gateway (compile/gateway/patched.py) nothing has to be told apart by client, so listeners, clusters and virtual
hosts can also be added and removed. Nobody judges a patch alone here: what the client refuses it gets without its
patches. A proxy is held against match.proxy by what it says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.patches import clusters, listeners, routes
from tidegate.compile.envoy.patches.lists import Failures, tried
from tidegate.compile.envoy.patches.selection import NOTHING, Patches, Selected, Selection
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.others.view import ClientView
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import ApplyTo, ClusterMatch, Context, ListenerMatch, Patch, PatchOperation, RouteMatch
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef

_SPARED = frozenset({FAULT_FILTER, CORS_FILTER})
_WHOLE = (ApplyTo.LISTENER, ApplyTo.LISTENER_FILTER)  # what changes a listener and not its chains


@dataclass(slots=True, eq=False)
class ClientPatches:
    """The patches of one side of a client. failures: those that could not be applied to what was made so far."""

    selected: Selected = NOTHING
    ports: frozenset[tuple[str, int]] = frozenset()  # name and number of each service port
    failures: Failures = field(default_factory=list)

    # --- listeners ----------------------------------------------------------------------------------------------
    def all_listeners(self, found: Iterable[EnvoyResource]) -> list[EnvoyResource]:
        """Listeners that stand for one port each, with the patches for them; and those that patches add."""
        out = [self._listener(plain) for plain in found if not self._removed(plain)]
        return [*out, *self._added_listeners({listener.name for listener in out})]

    def _listener(self, plain: EnvoyResource) -> EnvoyResource:
        socket = plain.body["address"]["socket_address"]
        network = None if socket["address"] in ("0.0.0.0", "::", "127.0.0.1") else ip_network(socket["address"])
        mine = [p for p in self.selected.listener if self._names(p, plain) and not _adds_or_removes(p)]
        base = listeners.Base(port=socket["port_value"], network=network, spared=_SPARED, ports_of=self._ports_of)
        return self._with(plain, mine, lambda body: listeners.patched(body, mine, base, self.failures))

    def by_chains(self, plain: EnvoyResource) -> EnvoyResource:
        """A listener whose chains are for the port that they say, as the one for what comes to a pod."""
        mine = [p for p in self.selected.listener if self._names(p, plain) and not _adds_or_removes(p)]

        def made(body: Mapping[str, Any]) -> Json:
            whole = [p for p in mine if p.apply_to in _WHOLE]
            inner = [p for p in mine if p.apply_to not in _WHOLE]
            chains: list[Json] = []
            for chain in body["filter_chains"]:
                number = chain["filter_chain_match"]["destination_port"]
                base = listeners.Base(port=number, spared=_SPARED, ports_of=self._ports_of)
                alone = {**body, "filter_chains": [chain]}
                chains += listeners.patched(alone, inner, base, self.failures)["filter_chains"]
            port = body["address"]["socket_address"]["port_value"]
            base = listeners.Base(port=port, spared=_SPARED, ports_of=self._ports_of)
            rest = listeners.patched({**body, "filter_chains": []}, whole, base, self.failures)
            return {**rest, "filter_chains": chains}

        return self._with(plain, mine, made)

    def _with(
        self, plain: EnvoyResource, mine: Sequence[Patch], change: Callable[[Mapping[str, Any]], Json]
    ) -> EnvoyResource:
        added = clusters.added(self.selected.cluster)
        if not mine and not added:
            return plain
        return replace(
            plain,
            body=change(plain.body) if mine else plain.body,
            refs=plain.refs | {ResourceRef(CLUSTERS, name) for name in added},
            origins=(*plain.origins, *_origins((*mine, *added.values()))),
            plain=lambda: plain,
        )

    def _names(self, patch: Patch, plain: EnvoyResource) -> bool:
        """Whether a patch is for a listener of this name: those of clients are called as Istio calls them."""
        return (patch.listener or ListenerMatch()).name in ("", plain.name)

    def _removed(self, plain: EnvoyResource) -> bool:
        port = plain.body["address"]["socket_address"]["port_value"]
        for patch in self.selected.listener:
            if patch.apply_to is ApplyTo.LISTENER and patch.operation is PatchOperation.REMOVE:
                wanted = listeners.ports_of(patch.listener or ListenerMatch(), self._ports_of, plain.name)
                if self._names(patch, plain) and (wanted is None or port in wanted):
                    return True
        return False

    def _added_listeners(self, taken: set[str]) -> Iterable[EnvoyResource]:
        for patch in self.selected.listener:
            if patch.apply_to is ApplyTo.LISTENER and patch.operation is PatchOperation.ADD:
                try:
                    body = to_json(message_of(MESSAGES[ApplyTo.LISTENER], patch.value))
                    if body.get("name") in (None, "", *taken):
                        raise Rejected("name", "of a listener that is added has to be one that no other has")
                except Rejected as error:
                    self.failures.append((patch, str(error)))
                else:
                    taken.add(body["name"])
                    yield EnvoyResource(body["name"], body, (patch.origin,))

    # --- routes -------------------------------------------------------------------------------------------------
    def table(self, plain: EnvoyResource, port: int) -> EnvoyResource:
        """The route configuration of a port with the patches for it, its virtual hosts and their routes."""
        table = routes.Dialled(plain.name, port, self._ports_of)
        mine = [p for p in self.selected.routes if table.fits(p.routes or RouteMatch())]
        if not mine:
            return plain
        added = {ResourceRef(CLUSTERS, name) for name in clusters.added(self.selected.cluster)}
        origins = (*plain.origins, *_origins(mine))
        body = self.route_body(plain.body, table)
        return replace(plain, body=body, origins=origins, refs=plain.refs | added, plain=lambda: plain)

    def route_body(self, body: Mapping[str, Any], table: routes.Dialled) -> Json:
        """The same of envoy.config.route.v3.RouteConfiguration in proto-JSON."""
        mine = [p for p in self.selected.routes if table.fits(p.routes or RouteMatch())]
        whole = [p for p in mine if p.apply_to is ApplyTo.ROUTE_CONFIGURATION]
        inner = [p for p in mine if p.apply_to is not ApplyTo.ROUTE_CONFIGURATION and not _adds_or_removes_host(p)]
        rest: Any = message_of(MESSAGES[ApplyTo.ROUTE_CONFIGURATION], {**body, "virtual_hosts": []})
        for patch in whole:
            with tried(rest, patch, self.failures):
                routes.patch_configuration(rest, patch)
        kept = {host["name"]: host for host in body["virtual_hosts"] if not any(_removes(p, host) for p in mine)}
        hosts = [*routes.hosts(kept, inner, table, self.failures).values()]
        return {**to_json(rest), "virtual_hosts": self._with_added_hosts(hosts, mine)}

    def _with_added_hosts(self, hosts: list[Json], mine: Sequence[Patch]) -> list[Json]:
        taken = {domain for host in hosts for domain in host["domains"]}
        for patch in mine:
            if patch.apply_to is ApplyTo.VIRTUAL_HOST and patch.operation is PatchOperation.ADD:
                try:
                    body = to_json(message_of(MESSAGES[ApplyTo.VIRTUAL_HOST], patch.value))
                    if not body.get("domains") or taken.intersection(body["domains"]):
                        raise Rejected("domains", "of a virtual host that is added have to be some that no other has")
                except Rejected as error:
                    self.failures.append((patch, str(error)))
                else:
                    taken.update(body["domains"])
                    hosts.append(body)
        return hosts

    # --- clusters -----------------------------------------------------------------------------------------------
    def all_clusters(self, found: Iterable[EnvoyResource], *, adding: bool = True) -> list[EnvoyResource]:
        """Clusters with the patches for them, and those that patches add."""
        out = [self._cluster(plain) for plain in found if not self._fitting(plain.name, (PatchOperation.REMOVE,))]
        added = clusters.added(self.selected.cluster) if adding else {}
        taken = {cluster.name for cluster in out}
        return [*out, *(EnvoyResource(n, p.value, (p.origin,)) for n, p in added.items() if n not in taken)]

    def _cluster(self, plain: EnvoyResource) -> EnvoyResource:
        mine = self._fitting(plain.name, clusters.CHANGES)
        if not mine:
            return plain
        body = clusters.patched(plain.body, mine, self.failures)
        return replace(
            plain, body=body, origins=(*plain.origins, *_origins(mine)), plain=plain.plain or (lambda: plain)
        )

    def _fitting(self, name: str, operations: Iterable[PatchOperation]) -> Patches:
        key = ClusterKey.parse(name)
        fqdn, port, subset = (key.fqdn, key.port, key.subset) if key else ("", _inbound_port(name), "")

        def fits(match: ClusterMatch) -> bool:
            if match.name:
                return match.name == name
            return match.port in (0, port) and match.service in ("", fqdn) and match.subset in ("", subset)

        wanted = tuple(operations)
        return tuple(p for p in self.selected.cluster if p.operation in wanted and fits(p.cluster or ClusterMatch()))

    def _ports_of(self, prefix: str) -> Iterable[int]:
        return {number for name, number in self.ports if name.lower().startswith(prefix.lower())}


def selection_of(view: ClientView) -> Selection:
    """The EnvoyFilters of the mesh that somebody's Envoy did not refuse yet."""
    mesh = view.facts.mesh
    return Selection(mesh.envoy_filters, mesh.refused_patches, mesh.config.root_namespace)


def patches_for(view: ClientView, selection: Selection, context: Context) -> ClientPatches:
    """Those for one side of a client."""
    if not selection:
        return ClientPatches()
    ports = frozenset((port.name, port.port) for _, port in view.ports())
    return ClientPatches(selection.of(view.source, context, dict(view.client.metadata)), ports)


def _adds_or_removes(patch: Patch) -> bool:
    return patch.apply_to is ApplyTo.LISTENER and patch.operation in (PatchOperation.ADD, PatchOperation.REMOVE)


def _adds_or_removes_host(patch: Patch) -> bool:
    return patch.apply_to is ApplyTo.VIRTUAL_HOST and patch.operation in (PatchOperation.ADD, PatchOperation.REMOVE)


def _removes(patch: Patch, host: Mapping[str, Any]) -> bool:
    if patch.apply_to is not ApplyTo.VIRTUAL_HOST or patch.operation is not PatchOperation.REMOVE:
        return False
    match = patch.routes or RouteMatch()
    return match.host in ("", host["name"]) and (not match.domain or match.domain in host["domains"])


def _inbound_port(name: str) -> int:
    """Of a cluster that leads to the application itself; -1: it is another one."""
    direction, _, rest = name.partition("|")
    port = rest.partition("|")[0]
    return int(port) if direction == "inbound" and port.isdecimal() else -1


def _origins(patches: Sequence[Patch]) -> tuple[Origin, ...]:
    return tuple(dict.fromkeys(p.origin for p in patches))
