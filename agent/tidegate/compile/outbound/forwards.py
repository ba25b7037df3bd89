"""What Envoy carries without looking into it -> filter chains of a pod's listener, found by dialled address and port.

They lead to the clusters that HTTP uses, so TLS, places and limits are said in one place. Of a policy a chain has how
long a connection may last, whether the client's address is hashed and through which tunnel it goes, no more: other
certificates are no new chain, for which Envoy would end the connections of the old one. Pure, one service port and one
client at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import collapse_addresses, ip_network

from tidegate.compile.derive import Read
from tidegate.compile.envoy import bounds, private
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.filters import pod_sockets
from tidegate.compile.envoy.patches.served import PatchedPort
from tidegate.compile.envoy.protojson import Json, duration, named
from tidegate.compile.envoy.tunnel import tunnelled
from tidegate.compile.l4.carried import conditions, falls_through, used
from tidegate.compile.l4.patched import dialled
from tidegate.compile.outbound.counted import counted
from tidegate.compile.outbound.destinations import Claim
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.outbound.routes import target_number
from tidegate.compile.registry import Registry, routed_to_headless
from tidegate.compile.rules import Rules, balancer
from tidegate.compile.visibility import Source
from tidegate.model.kube import ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, FORWARD, EnvoyResource, ResourceRef
from tidegate.model.routing import RouteTarget
from tidegate.model.traffic import ConnectionPool, TrafficPolicy, Tunnel

# Filter chains, and what each is for -> the same with patches.
Patching = Callable[[Sequence[Json], Sequence[PatchedPort]], Sequence[Json]]
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_ATTEMPTS = 3  # endpoints that are tried for a connection, as many as the relay tries
HELLO_SECONDS = 5  # a client that says nothing for longer asks for no name (decision 18)


@dataclass(frozen=True, slots=True)
class CarriedPort:
    """One filter chain: connections to any of these addresses, of TLS clients that ask for one of these names."""

    service_port: str  # FQDN:PORT that was dialled
    port: int
    addresses: tuple[IPAddress, ...]
    targets: tuple[tuple[str, int], ...]  # clusters with their weights
    names: tuple[str, ...] = ()  # empty: whatever they ask for
    idle_ms: int = 0  # 0: as long as they like
    duration_ms: int = 0
    by_source: bool = False  # the client's address chooses the endpoint
    tunnels: tuple[Tunnel | None, ...] = ()  # of each target; empty: none has any
    origins: tuple[Origin, ...] = ()
    port_name: str = ""  # of the service port, by which patches may name it

    @property
    def served(self) -> PatchedPort:
        """As patches name it."""
        return dialled(ServicePort(self.port, name=self.port_name), self.addresses)

    @property
    def name(self) -> str:
        """Of the chain."""
        return f"{FORWARD}{self.service_port}|{self.addresses[0]}|{','.join(self.names)}"


def forwards(read: Read, filtered: Filtered, claim: Claim, source: Source) -> tuple[CarriedPort, ...]:
    """The chains of one client for a service port that Envoy carries for it."""
    found = conditions(read, claim.service, claim.port, source)
    own = RouteTarget(claim.service.id.fqdn, claim.port.port)
    chains: dict[tuple[tuple[str, ...], tuple[tuple[RouteTarget, int], ...]], list[IPAddress]] = {}
    for address in claim.addresses:
        taken: set[str] = set()
        for condition in found:
            if condition.subnets and not any(address.version == n.version and address in n for n in condition.subnets):
                continue
            names = tuple(name for name in condition.names if name not in taken)
            taken.update(names)
            if names or not condition.names:
                chains.setdefault((names, tuple(used(condition.candidate.route.targets))), []).append(address)
            if not condition.names:
                break
        else:
            if falls_through(found, claim.port):
                chains.setdefault(((), ((own, 1),)), []).append(address)
    made = _Making(read, filtered, claim, source)
    return tuple(made.forward(names, targets, tuple(at)) for (names, targets), at in chains.items())


def cluster_of(
    read: Read, filtered: Filtered, claim: Claim, source: Source, target: RouteTarget
) -> tuple[ClusterKey, TrafficPolicy]:
    """The cluster to which a client's connections go that are led to a target, and the policy that holds there."""
    registry, rules = Registry(read), Rules(read)
    target = registry.behind(target)
    number = target_number(registry, target, claim.port.port)
    found = registry.services.get(target.host)
    if found is None:
        return ClusterKey(target.host, number, target.subset), TrafficPolicy()
    chosen_here = routed_to_headless(found, number, target.subset, claim.service, claim.port)
    key = ClusterKey(target.host, number, target.subset, rules.policy_scope(found.id, source), chosen_here)
    return filtered.cluster_key(key, source), rules.policy_of(found.id, source).for_port(number, target.subset)


class _Making:
    def __init__(self, read: Read, filtered: Filtered, claim: Claim, source: Source) -> None:
        self._read = read
        self._filtered = filtered
        self._claim = claim
        self._source = source

    def forward(
        self, names: tuple[str, ...], targets: tuple[tuple[RouteTarget, int], ...], at: tuple[IPAddress, ...]
    ) -> CarriedPort:
        registry, rules = Registry(self._read), Rules(self._read)
        clusters: list[tuple[str, int]] = []
        pools: list[ConnectionPool] = []
        tunnels: list[Tunnel | None] = []
        origins: dict[Origin, None] = {}
        by_source = False
        for target, weight in targets:
            key, policy = cluster_of(self._read, self._filtered, self._claim, self._source, target)
            whole = ClusterKey.parse(str(key)) == key
            clusters.append((str(key) if whole else private.NOWHERE, weight))
            tunnels.append(policy.tunnel)
            pools.append(policy.connection_pool or ConnectionPool())
            service = registry.services.get(key.fqdn)
            if service is not None:
                chosen = balancer(service, policy, rules.mesh)
                by_source = by_source or bool(chosen and chosen.hash and chosen.hash.source_ip)
                origins.update(dict.fromkeys(rules.policy_of(service.id, self._source).origins))
        return CarriedPort(
            service_port=self._claim.name,
            port=self._claim.port.port,
            port_name=self._claim.port.name,
            addresses=at,
            targets=tuple(clusters),
            names=names,
            idle_ms=min((pool.tcp_idle_ms for pool in pools if pool.tcp_idle_ms), default=0),
            duration_ms=min((pool.max_connection_ms for pool in pools if pool.max_connection_ms), default=0),
            by_source=by_source,
            tunnels=tuple(tunnels) if any(tunnels) else (),
            origins=tuple(origins),
        )


def with_forwards(
    listener: EnvoyResource,
    found: Sequence[CarriedPort],
    netns_path: str,
    cookie: int = 0,
    secret: str = "",
    patch: Patching = lambda made, _: made,
) -> EnvoyResource:
    """A pod's listener with chains for these connections, counted under the cookie of its netns. What else it has stays
    as it is: Envoy then puts the chains in place of others without touching the connections of those that stay.
    secret: name of the pod's certificate, see pod_sockets(). patch: makes the chains what EnvoyFilters say."""
    if not found:
        return listener
    sockets = [pod_sockets(netns_path, secret)] if netns_path else []
    chains = patch([_chain(forward, sockets, cookie) for forward in found], [forward.served for forward in found])
    taken = [chain["filter_chain_match"] for chain in chains]
    # Of two chains for the same connections Envoy would take none: what a patch is for does not meet these.
    kept = [chain for chain in listener.body["filter_chains"] if chain.get("filter_chain_match") not in taken]
    body: Json = {**listener.body, "filter_chains": [*kept, *chains]}
    if named_ports := sorted({forward.port for forward in found if forward.names}):
        body["listener_filters"] = [*body["listener_filters"], _inspector(named_ports)]
        body["listener_filters_timeout"] = f"{HELLO_SECONDS}s"
        body["continue_on_listener_filters_timeout"] = True
    plain = listener.plain
    # Should Envoy refuse it, HTTP is served; connections without HTTP then find no chain that hands them on.
    return replace(
        listener,
        body=body,
        origins=tuple(dict.fromkeys((*listener.origins, *(o for forward in found for o in forward.origins)))),
        refs=listener.refs | {ResourceRef(CLUSTERS, name) for f in found for name, _ in f.targets},
        plain=(lambda: listener)
        if plain is None
        else lambda: with_forwards(plain(), found, netns_path, cookie, secret),
    )


def _chain(forward: CarriedPort, sockets: list[Json], cookie: int) -> Json:
    filters = [bounds.connection_limit(), *sockets, proxy(forward, cookie)]
    return {"name": forward.name, "filter_chain_match": _match(forward), "filters": filters}


def _match(forward: CarriedPort) -> Json:
    return {
        "destination_port": forward.port,
        "prefix_ranges": list(ranges(forward.addresses)),
        **asked_for(forward.names),
    }


def asked_for(names: Sequence[str]) -> Json:
    """Of a filter chain's match, the names that TLS clients ask for; none: whatever they ask for."""
    if "*" in names:
        return {"transport_protocol": "tls"}
    return {"server_names": list(names)} if names else {}


def ranges(addresses: tuple[IPAddress, ...]) -> Iterator[Json]:
    """As few ranges as possible: an entry may have a whole network of addresses."""
    for version in (4, 6):
        those = [ip_network(str(a)) for a in addresses if a.version == version]
        for network in collapse_addresses(those):  # type: ignore[type-var]
            yield {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def proxy(forward: CarriedPort, cookie: int | None = None) -> Json:
    """The filter that takes connections to the clusters of a chain. cookie: of the netns under which our Envoy counts
    them; None: it is somebody else's Envoy."""
    where = tunnelled(forward.targets, forward.tunnels or (None,) * len(forward.targets))
    if forward.by_source:
        where["hash_policy"] = [{"source_ip": {}}]
    if forward.duration_ms:
        where["max_downstream_connection_duration"] = duration(forward.duration_ms)
    return named(
        "envoy.filters.network.tcp_proxy",
        _TCP_PROXY,
        stat_prefix=forward.service_port,
        idle_timeout=duration(forward.idle_ms),
        max_connect_attempts=_ATTEMPTS,
        **({} if cookie is None else counted(cookie, forward.service_port)),
        **where,
    )


def _inspector(ports: list[int]) -> Json:
    """Looks for the name that a TLS client asks for, at ports where routes do: a server that speaks first is not kept
    waiting at any other."""
    ranges: list[Json] = [{"destination_port_range": {"start": port, "end": port + 1}} for port in ports]
    wanted: Json = ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}
    made = named(
        "envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )
    return {**made, "filter_disabled": {"not_match": wanted}}
