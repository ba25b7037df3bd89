"""`tcp` and `tls` routes at a gateway -> filter chains that forward bytes. Pure.

A plain port has one chain: the first route that holds there. Where TLS is not ended, each name of a `tls` route is a
chain of its own, found by what the client asks for in its handshake (SNI).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.envoy.tunnel import tunnelled
from tidegate.compile.gateway.ports import Served
from tidegate.compile.gateway.routes import RulesByGateway, rules_at
from tidegate.compile.outbound.counted import CHOSEN, counted
from tidegate.model.gateway import GatewayWorkload, gateway_ref
from tidegate.model.hosts import overlap
from tidegate.model.routing import L4Match, L4Route, RouteTarget, VirtualService
from tidegate.model.selectors import selects
from tidegate.model.traffic import Tunnel

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"

KeyOf = Callable[[RouteTarget], ClusterKey]
TunnelOf = Callable[[ClusterKey], Tunnel | None]


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where connections of a server go: the first route that holds for them."""

    vs: VirtualService
    route: L4Route
    names: tuple[str, ...] = ()  # asked for in the handshake; none = whatever is asked for


def plain_forward(rules: RulesByGateway, served: Served, workload: GatewayWorkload) -> Forwarding | None:
    """The `tcp` route of a server, be it behind TLS that ends here or not; None if no rule has one for it."""
    for vs, _ in rules_at(rules, served):
        for route in vs.tcp:
            if not route.matches or any(_holds(m, vs, served, workload) for m in route.matches):
                return Forwarding(vs, route)
    return None


def named_forwards(rules: RulesByGateway, served: Served, workload: GatewayWorkload) -> Iterator[Forwarding]:
    """The `tls` routes of a server, match by match. A name that a rule before it has goes there."""
    seen: set[str] = set()
    for vs, _ in rules_at(rules, served):
        open_to = [h.host for h in served.server.hosts if h.namespace in ("*", vs.namespace)]
        for route in vs.tls:
            for match in route.matches:
                if not _holds(match, vs, served, workload):
                    continue
                both = [found for name in match.sni_hosts for host in open_to if (found := overlap(name, host))]
                names = [name for name in dict.fromkeys(both) if name not in seen]
                seen.update(names)
                if names:
                    yield Forwarding(vs, route, tuple(names))


def _holds(match: L4Match, vs: VirtualService, served: Served, workload: GatewayWorkload) -> bool:
    """Unlike for HTTP every condition is looked at, whether or not gateways are given (Istio's rule)."""
    if match.port and match.port != served.server.port:
        return False
    if match.gateways and served.gateway.ref not in {gateway_ref(name, vs.namespace) for name in match.gateways}:
        return False
    if match.source_namespace and match.source_namespace != workload.namespace:
        return False
    return selects(match.source_labels, workload.labels)


def tcp_proxy(
    stat_prefix: str, forward: Forwarding, cluster_of: KeyOf, tunnel_of: TunnelOf
) -> tuple[Json, set[ClusterKey]]:
    """The filter that forwards, and the clusters that it needs."""
    weighted = forward.route.targets
    chosen = [w for w in weighted if w.weight] if len(weighted) > 1 else list(weighted)
    keys = [cluster_of(w.target) for w in chosen]
    targets = [(str(key), w.weight) for key, w in zip(keys, chosen, strict=True)]
    proxy = named(
        "envoy.filters.network.tcp_proxy",
        _TCP_PROXY,
        stat_prefix=stat_prefix,
        **counted(0, CHOSEN),
        **tunnelled(targets, [tunnel_of(key) for key in keys]),
    )
    return proxy, set(keys)
