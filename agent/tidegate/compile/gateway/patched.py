"""EnvoyFilters at a gateway: patches of context GATEWAY or ANY, on its listeners, virtual hosts and clusters. Pure.

As for pods (compile/outbound/filtered.py), but all of it is this workload's own, so nothing has to be told apart by
client. A patch that Envoy refuses by itself (shown.py) is left out; a listener or cluster that it refuses
before is served without patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.patches import clusters, listeners, routes
from tidegate.compile.envoy.patches.lists import Failures
from tidegate.compile.envoy.patches.selection import Patches, Selected, Selection
from tidegate.compile.facts import Facts
from tidegate.compile.gateway.ports import GatewayPort, Served
from tidegate.compile.gateway.routes import source_at
from tidegate.model.envoy_filter import Context
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef

_SPARED = frozenset({FAULT_FILTER, CORS_FILTER})
ANY_ADDRESS = "0.0.0.0"  # what a listener that is bound to no address in particular is matched by


@dataclass(slots=True, eq=False)
class GatewayPatches:
    """The patches for one workload. failures: those that could not be applied to what was made so far."""

    selected: Selected
    names: Mapping[int, str] = field(default_factory=dict)  # port number -> name of a server's port there
    every: Patches = ()  # also those that Envoy refused
    failures: Failures = field(default_factory=list)

    def base(self, port: GatewayPort) -> listeners.Base:
        """What the listener of a port is like before it is patched."""
        network = None if port.bind.startswith("unix:") else ip_network(port.bind or ANY_ADDRESS)
        return listeners.Base(port=port.number, network=network, spared=_SPARED, ports_of=self._ports_of)

    def listener(self, plain: EnvoyResource, port: GatewayPort) -> EnvoyResource:
        """A listener with the patches for it, and the clusters that patches add."""
        added = clusters.added(self.selected.cluster)
        if not self.selected.listener and not added:
            return plain
        body = listeners.patched(plain.body, self.selected.listener, self.base(port), self.failures)
        refs = plain.refs | {ResourceRef(CLUSTERS, name) for name in added}
        origins = (*plain.origins, *_origins((*self.selected.listener, *added.values())))
        return replace(plain, body=body, refs=refs, origins=origins, plain=lambda: plain)

    def routes(self, plain: EnvoyResource, port: int, servers: Iterable[Served]) -> EnvoyResource:
        """A route configuration with the patches for its virtual hosts and their routes."""
        if not self.selected.routes:
            return plain
        gateways = frozenset(served.gateway.ref for served in servers)
        table = routes.Dialled(plain.name, port, self._ports_of, gateways)
        bodies = {host["name"]: host for host in plain.body["virtual_hosts"]}
        hosts = routes.hosts(bodies, self.selected.routes, table, self.failures)
        body = {**plain.body, "virtual_hosts": [hosts[name] for name in bodies]}
        return replace(plain, body=body, origins=(*plain.origins, *_origins(self.selected.routes)))

    def cluster(self, made: EnvoyResource, key: ClusterKey) -> EnvoyResource:
        """A cluster of a service with the patches for it."""
        found = tuple(p for p in self.selected.cluster if clusters.fits(p, key.fqdn, key.port, key.subset))
        if not found:
            return made
        body = clusters.patched(made.body, found, self.failures)
        return replace(made, body=body, origins=(*made.origins, *_origins(found)), plain=lambda: made)

    def added(self) -> dict[str, EnvoyResource]:
        """Clusters of no service."""
        found = clusters.added(self.selected.cluster)
        return {name: EnvoyResource(name, patch.value, (patch.origin,)) for name, patch in found.items()}

    def _ports_of(self, prefix: str) -> Iterable[int]:
        return {number for number, name in self.names.items() if name.lower().startswith(prefix.lower())}


def patches_at(facts: Facts, workload: GatewayWorkload, ports: Iterable[GatewayPort]) -> GatewayPatches:
    """Those for a workload, whose ports these are."""
    mesh = facts.mesh
    source, root = source_at(workload), mesh.config.root_namespace
    selection = Selection(mesh.envoy_filters, mesh.refused_patches, root)
    names = {port.number: served.server.port_name for port in ports for served in reversed(port.servers)}
    every = Selection(mesh.envoy_filters, (), root).patches(source, Context.GATEWAY)
    return GatewayPatches(selection.of(source, Context.GATEWAY), names, every)


def _origins(patches: Patches) -> tuple[Origin, ...]:
    return tuple(dict.fromkeys(p.origin for p in patches))
