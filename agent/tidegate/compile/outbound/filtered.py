"""What EnvoyFilters change of what pods dial: their listeners, virtual hosts and clusters.

A listener is of one pod, so it gets that pod's patches. A route configuration is of all pods of the node: a client
that has patches gets virtual hosts of its own, as one does whose rules are special. A cluster that patches change has
them in its name, so clients without them use another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.compile.envoy import private
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER, ON_DEMAND_FILTER
from tidegate.compile.envoy.patches import clusters, listeners, routes
from tidegate.compile.envoy.patches.checks import ShownAlone, checks
from tidegate.compile.envoy.patches.lists import Failures
from tidegate.compile.envoy.patches.selection import NOTHING, Patches, Selected, Selection, of_connections, variant_of
from tidegate.compile.envoy.patches.served import PatchedPort
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.inbound.filtered import shown_on
from tidegate.compile.outbound.listeners import pod_listener
from tidegate.compile.visibility import Source
from tidegate.model.envoy_filter import ApplyTo, Context, Patch
from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.workload import Sandbox

_SPARED = frozenset({ON_DEMAND_FILTER, FAULT_FILTER, CORS_FILTER})
# Of a pod's listener (compile/envoy/filters.py): the filter that holds requests until their routes are here.
_OWN_HTTP = 1
_NOBODY = Sandbox(WorkloadId("", ""), "", "", 0, ())  # whose listener patches are tried on


@dataclass(slots=True, eq=False)
class Filtered:
    """The EnvoyFilters in force. ports: (name, number) of each service port; may be empty if nobody asks for names."""

    selection: Selection = field(default_factory=Selection)
    ports: frozenset[tuple[str, int]] = frozenset()
    failures: Failures = field(default_factory=list)  # patches that could not be applied to what was made so far
    _checks: ShownAlone | None = None
    _variants: dict[str, Patches] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[tuple[str, str], ...]], Selected] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.selection)

    def of(self, source: Source) -> Selected:
        """The patches for one client."""
        if not self.selection:
            return NOTHING
        key = (source.namespace, tuple(sorted(source.labels.items())))
        if key not in self._known:
            self._known[key] = self.selection.of(source, Context.SIDECAR_OUTBOUND)
        return self._known[key]

    # --- listeners ----------------------------------------------------------------------------------------------
    def listener(self, plain: EnvoyResource, source: Source) -> EnvoyResource:
        """A pod's listener with the patches for it."""
        selected = self.of(source)
        added = clusters.added(selected.cluster)
        if not selected.listener and not added:
            return plain
        body = listeners.patched(plain.body, selected.listener, self._base(plain.body), self.failures)
        used = (*selected.listener, *added.values())
        return replace(
            plain,
            body=body,
            origins=(*plain.origins, *_origins(used)),
            refs=plain.refs | {ResourceRef(CLUSTERS, name) for name in added},
            plain=lambda: plain,
        )

    def chains(self, made: Sequence[Json], served: Sequence[PatchedPort], source: Source) -> Sequence[Json]:
        """Filter chains of what is carried without being looked into, with the patches for a client. served: what each
        of them is for."""
        found = self.of(source).listener
        if not made or not any(of_connections(patch) for patch in found):
            return made
        patches = [p for p in found if of_connections(p) or p.apply_to is ApplyTo.EXTENSION_CONFIG]
        own = len(made[0]["filters"]) - 1
        base = listeners.Base(served=served, own_network=own, ports_of=self.ports_of)
        patched: Sequence[Json] = listeners.patched({"filter_chains": made}, patches, base, self.failures)[
            "filter_chains"
        ]
        return patched

    def _base(self, body: Mapping[str, Any]) -> listeners.Base:
        own = len(body["filter_chains"][0]["filters"]) - 1
        return listeners.Base(own_network=own, own_http=_OWN_HTTP, spared=_SPARED, ports_of=self.ports_of)

    def ports_of(self, prefix: str) -> Iterable[int]:
        """Numbers of the service ports whose names begin so, in whatever case."""
        return {number for name, number in self.ports if name.lower().startswith(prefix.lower())}

    # --- routes -------------------------------------------------------------------------------------------------
    def concerns_routes(self, source: Source) -> tuple[tuple[Origin, int], ...]:
        """Which patches make the routes, or the clusters, of a client special."""
        selected = self.of(source)
        return tuple((p.origin, p.index) for p in (*selected.routes, *selected.cluster))

    def hosts(
        self, hosts: Mapping[str, list[Json]], name: str, port: int, source: Source
    ) -> tuple[dict[str, list[Json]], dict[str, Json], tuple[Origin, ...]]:
        """Routes by host with the patches for a client; what else its virtual hosts have, by host; where from.

        name: FQDN:PORT of what was dialled. hosts: "" stands for whatever host is asked for.
        """
        selected = self.of(source)
        if not selected.routes:
            return dict(hosts), {}, ()
        bodies = {}
        for host, made in hosts.items():
            any_host = host in ("", private.NO_HOST)
            called = name if any_host else f"{host}:{port}"
            domains = [name.rpartition(":")[0], name] if any_host else [host]
            bodies[host] = {"name": called, "domains": domains, "routes": made}
        patched = routes.hosts(bodies, selected.routes, routes.Dialled(name, port, self.ports_of), self.failures)
        extra = {
            host: {key: value for key, value in body.items() if key not in ("name", "domains", "routes")}
            for host, body in patched.items()
        }
        return {host: body.get("routes", []) for host, body in patched.items()}, extra, _origins(selected.routes)

    # --- clusters -----------------------------------------------------------------------------------------------
    def cluster_key(self, key: ClusterKey, source: Source) -> ClusterKey:
        """The key of the cluster that a client uses in place of this one."""
        selected = self.of(source)
        found = tuple(p for p in selected.cluster if clusters.fits(p, key.fqdn, key.port, key.subset))
        if not found:
            return key
        variant = variant_of(found)
        self._variants[variant] = found
        return replace(key, patches=variant)

    def cluster(self, made: EnvoyResource, key: ClusterKey) -> EnvoyResource | None:
        """A cluster with the patches that are in its name; None if there are none such."""
        if not key.patches:
            return made
        patches = self._variants.get(key.patches)
        if patches is None:
            return None
        return replace(
            made,
            body=clusters.patched(made.body, patches, self.failures),
            origins=(*made.origins, *_origins(patches)),
            plain=made.plain or (lambda: made),
        )

    def other_cluster(self, name: str) -> EnvoyResource | None:
        """A cluster of no service: one that a patch adds, or one that shows a patch."""
        if (check := self.checks.clusters.get(name)) is not None:
            return check
        patch = clusters.added(self.selection.clusters()).get(name)
        return EnvoyResource(name, patch.value, (patch.origin,)) if patch is not None else None

    # --- for explain --------------------------------------------------------------------------------------------
    def concerning(self, source: Source, name: str, port: int) -> Patches:
        """Patches of a client's listener and routes that may change what it sends to NAME (FQDN:PORT)."""
        selected, found = self.of(source), []
        for patch in selected.listener:
            wanted = listeners.ports_of(patch.listener, self.ports_of) if patch.listener else None
            if wanted is None or port in wanted:
                found.append(patch)
        table = routes.Dialled(name, port, self.ports_of)
        return (*found, *(p for p in selected.routes if p.routes is None or table.fits(p.routes)))

    def of_cluster(self, key: ClusterKey) -> Patches:
        """The patches in a key that cluster_key() gave."""
        return self._variants.get(key.patches, ())

    # --- for Envoy to judge -------------------------------------------------------------------------------------
    @property
    def checks(self) -> ShownAlone:
        """Each patch on resources of its own."""
        if self._checks is None:
            plain = pod_listener(_NOBODY, ()).body
            every = self.selection.every()
            self._checks = checks(every, plain, self._base(plain), shown_on()) if every else ShownAlone()
        return self._checks


def _origins(patches: Sequence[Patch]) -> tuple[Origin, ...]:
    return tuple(dict.fromkeys(p.origin for p in patches))
