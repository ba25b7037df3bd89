"""Connections without HTTP that Envoy carries in place of the relay: a DestinationRule asks for what the relay cannot
do. That is TLS that begins behind the application, the PROXY protocol, a tunnel, an order or shares of places, a
warm-up. Or a patch of an EnvoyFilter is for them (patched.py).

It is decided for a service port and a client: whose rule it is that counts depends on the client. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.compile.derive import Read, derived
from tidegate.compile.l4.patched import LedTo, is_any, may_be_patched, patched
from tidegate.compile.l4.pools import pool_of
from tidegate.compile.l4.routes import L4Condition, in_order, l4_candidates, l4_owners, routes_for
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.tables import ANY_HOST, DESTINATION_RULES
from tidegate.compile.visibility import Source, mesh_config
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.mesh_config import UsualTraffic
from tidegate.model.routing import RouteTarget, WeightedTarget
from tidegate.model.traffic import DestinationRule, TrafficPolicy


def asks(policy: TrafficPolicy) -> bool:
    """Whether the relay cannot do what a policy says of a port."""
    balancer, near = policy.load_balancer, policy.near
    # An order of places comes into force with outlier detection, as on HTTP ports.
    placed = near is not None and near.enabled and bool(near.shares or policy.outlier is not None)
    tls = policy.tls is not None and policy.tls.originates
    return (
        tls
        or placed
        or bool(policy.proxy_protocol or policy.tunnel)
        or (balancer is not None and balancer.warmup is not None)
    )


def envoy_carries(read: Read, service: Service, port: ServicePort, source: Source) -> bool:
    """Whether Envoy carries what a client says to a service port that is not HTTP: if anything to which its routes
    lead has such a policy for it, or a patch is for it."""
    if not may_be_carried(read, service, port):
        return False
    targets = list(_targets(read, service, port, source))
    return any(_asks_for(read, target, (service, port), source) for target in targets) or patched(
        read, service, port, [_cluster(read, target, port) for target in targets], source
    )


def may_be_carried(read: Read, service: Service, port: ServicePort) -> bool:
    """Quick look whether Envoy carries it for any client."""
    asking = read(_asking, "")
    if port.protocol.is_http or not (asking or is_any(read)):
        return False
    targets = [RouteTarget(service.id.fqdn, port.port)]
    for vs in l4_owners(Rules(read), service, port):
        targets += [t.target for r in routes_for(vs, port) for t in r.targets]
    hosts = {Registry(read).behind(target).host for target in targets}
    return any(host_matches(pattern, host) or pattern == host for pattern in asking for host in hosts) or (
        may_be_patched(read, service, port, [_cluster(read, target, port) for target in targets])
    )


def _cluster(read: Read, target: RouteTarget, port: ServicePort) -> LedTo:
    """How a patch names the cluster to which a target leads."""
    registry = Registry(read)
    target = registry.behind(target)
    found = registry.services.get(target.host)
    ports = found.tcp_ports if found else ()
    return target.host, target.port or (ports[0].port if len(ports) == 1 else port.port), target.subset


def everybody(service: Service) -> Source:
    """The client whose rules are everybody's, as long as nobody has others."""
    return Source(service.id.namespace)


def conditions(read: Read, service: Service, port: ServicePort, source: Source) -> list[L4Condition]:
    """What is asked of a client's connections to a service port, the first that holds decides."""
    rules = Rules(read)
    return in_order(l4_candidates(rules, l4_owners(rules, service, port), port, source))


def used(targets: tuple[WeightedTarget, ...]) -> list[tuple[RouteTarget, int]]:
    """The targets of a route that get connections, with their weights."""
    return [(t.target, t.weight) for t in targets if t.weight] if len(targets) > 1 else [(t.target, 1) for t in targets]


def falls_through(found: list[L4Condition], port: ServicePort) -> bool:
    """Whether there are connections that no route takes and that go to the service itself; of TLS none do."""
    return not found or (port.protocol is not Protocol.TLS and bool(found[-1].names or found[-1].subnets))


def _targets(read: Read, service: Service, port: ServicePort, source: Source) -> Iterator[RouteTarget]:
    found = conditions(read, service, port, source)
    for condition in found:
        yield from (target for target, _ in used(condition.candidate.route.targets))
    if falls_through(found, port):
        yield RouteTarget(service.id.fqdn, port.port)


def _asks_for(read: Read, target: RouteTarget, dialled: tuple[Service, ServicePort], source: Source) -> bool:
    registry, rules = Registry(read), Rules(read)
    key = pool_of(registry, rules, target, dialled, source, 4)
    service = registry.services.get(key.fqdn)
    return service is not None and asks(rules.policy_of(service.id, source).for_port(key.port, key.subset))


@derived
def _asking(read: Read, _: str) -> tuple[str, ...]:
    """Hosts of rules that say anything of the kind: most meshes have none, and their services are asked nothing."""
    usual = mesh_config(read).traffic or UsualTraffic()
    placed = usual.near is not None and usual.near.enabled
    if usual.near is not None and placed and (usual.near.shares or usual.blocks.outlier is not None):
        return (ANY_HOST,)
    rules = (rule for group in read.all(DESTINATION_RULES).values() for rule in group)
    return tuple(sorted({rule.host for rule in rules if any(_may_ask(policy, placed) for policy in _policies(rule))}))


def _may_ask(policy: TrafficPolicy, placed: bool) -> bool:
    """placed: whether the mesh has an order of places, which comes into force with outlier detection."""
    return asks(policy) or policy.near is not None or (placed and policy.outlier is not None)


def _policies(rule: DestinationRule) -> Iterator[TrafficPolicy]:
    for policy in (rule.policy, *(subset.policy for subset in rule.subsets)):
        yield policy
        yield from policy.ports.values()
