"""What routes of connections lead to: the endpoints of a service port or of a subset of it, as services of the relay
to which nobody dials. Pure, one pool at a time.

A pool is for the clients of one namespace where a DestinationRule means those only, and for one address family: it has
the endpoints of that family, or if there are none those of the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import goes_where_dialled
from tidegate.compile.facts import Endpoint
from tidegate.compile.l4.settings import l4_balancing, l4_settings
from tidegate.compile.registry import Registry, routed_to_headless
from tidegate.compile.rules import LABELS, DestinationPolicy, Rules, balancer
from tidegate.compile.tables import ANY_HOST, DESTINATION_RULES, FOREIGN_RULES
from tidegate.compile.visibility import Source, mesh_config
from tidegate.model.hosts import host_matches
from tidegate.model.kube import Service, ServicePort
from tidegate.model.mesh_config import EVERYBODY
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Endpoint, L4Service, LoadBalancing
from tidegate.model.routing import RouteTarget
from tidegate.model.selectors import selects
from tidegate.model.traffic import DestinationRule, TrafficPolicy

_VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True, order=True)
class PoolKey:
    """What a pool is of."""

    fqdn: str
    port: int
    subset: str = ""
    client: str = ""  # NAMESPACE[/RULE] of the clients, if their policy is not everybody's
    version: int = 4
    chosen: bool = False  # a pod is chosen although the service is headless: none of its pods was dialled

    @property
    def service_port(self) -> str:
        """As services are called."""
        return f"{self.fqdn}:{self.port}"

    @property
    def counter(self) -> str:
        """The name under whose number connections are counted: both families are one, and all of a service is one."""
        variant = f"{self.subset}@{self.client}" if self.client else self.subset
        return f"{self.service_port}|{variant}" if variant else self.service_port

    def __str__(self) -> str:
        return f"{self.service_port}|{self.subset}@{self.client}/{self.version}{'+lb' if self.chosen else ''}"


def pool_of(
    registry: Registry,
    rules: Rules,
    target: RouteTarget,
    dialled: tuple[Service, ServicePort],
    source: Source,
    version: int,
) -> PoolKey:
    """The pool of a route's target for a client that dialled a service port."""
    behind = registry.behind(target)
    found = registry.services.get(behind.host)
    ports = found.tcp_ports if found else ()
    number = behind.port or (ports[0].port if len(ports) == 1 else dialled[1].port)
    client = client_of(rules, found, source) if found else ""
    chosen = found is not None and routed_to_headless(found, number, behind.subset, *dialled)
    return PoolKey(behind.host, number, behind.subset, client, version, chosen)


def client_of(rules: Rules, service: Service, source: Source) -> str:
    """Whose policy a client has: NAMESPACE[/RULE], empty for everybody's. Labels that put endpoints in order mean
    nothing here: the relay knows no order of places."""
    scope = rules.policy_scope(service.id, source).partition(LABELS)[0]
    return "" if scope == service.id.namespace else scope


def pool_members(registry: Registry, rules: Rules, key: PoolKey) -> tuple[Endpoint, ...] | None:
    """The endpoints of a pool, in whichever family they are reached; None: there is no such service port or subset."""
    found = _found(registry, rules, key)
    if found is None:
        return None
    service, port, policy = found
    subset = policy.subset(key.subset) if key.subset else None
    every = registry.near(service, registry.endpoints(service, port))
    labels: Mapping[str, str] = subset.labels if subset else {}
    those = tuple(e for e in every if selects(labels, e.labels))
    return tuple(e for e in those if e.address.version == key.version) or those


def as_dialled(registry: Registry, rules: Rules, key: PoolKey) -> tuple[L4Endpoint, ...]:
    """The endpoint that stands for the address that a client dialled; none if endpoints of the pool are chosen."""
    found = _found(registry, rules, key)
    if found is None:
        return ()
    service, port, policy = found
    return where_dialled(service, port, policy.for_port(port.port, key.subset), key.subset, key.chosen)


def where_dialled(
    service: Service, port: ServicePort, settings: TrafficPolicy, subset: str = "", chosen: bool = False
) -> tuple[L4Endpoint, ...]:
    """The same of a service port."""
    if not goes_where_dialled(service, settings, subset, chosen):
        return ()
    another = port.target if service.as_dialled and isinstance(port.target, int) else 0
    return (L4Endpoint(ANYWHERE, another),)


def pool(registry: Registry, rules: Rules, key: PoolKey, numbers: Mapping[str, int]) -> L4Service:
    """The pool; one of which nothing is known has no endpoints. numbers: of its names."""
    number, counted_as = numbers[str(key)], numbers[key.counter]
    found = _found(registry, rules, key)
    if found is None:
        return L4Service(number, key.service_port, (), LoadBalancing.LEAST_REQUEST, ())
    service, port, policy = found
    settings = policy.for_port(port.port, key.subset)
    every = registry.endpoints(service, port)
    by_pod = {(e.pod.id, e.port, int(e.address.version)): e.address for e in reversed(every) if e.pod}
    members = pool_members(registry, rules, key) or ()
    straight = as_dialled(registry, rules, key)
    reached = {} if straight else {(e.address, e.port): e for e in members}
    endpoints = []
    for (address, target), member in sorted(reached.items(), key=lambda item: (int(item[0][0]), item[0][1])):
        others = (v for v in _VERSIONS if v != address.version)
        pod = member.pod
        other = next((by_pod.get((pod.id, target, v)) for v in others), None) if pod else None
        endpoints.append(L4Endpoint(address, target, member.weight, other=other))
    return L4Service(
        number=number,
        name=key.service_port,
        addresses=(),
        balancing=l4_balancing(balancer(service, settings, rules.mesh)),
        endpoints=straight or tuple(endpoints),
        settings=l4_settings(settings, service, rules.mesh, len(endpoints), chosen=not straight),
        counted_as=counted_as,
    )


def policy_varies(read: Read, service: Service) -> bool:
    """Whether for some clients other DestinationRules may count than for those of the service's own namespace."""
    fqdn = service.id.fqdn
    foreign = (rule for key in (fqdn, ANY_HOST) for rule in read(FOREIGN_RULES, key) or ())
    if any(host_matches(rule.host, fqdn) for rule in foreign if rule.namespace != service.id.namespace):
        return True
    mesh = mesh_config(read)
    rules: Iterator[DestinationRule] = (
        rule
        for namespace in dict.fromkeys((service.id.namespace, mesh.root_namespace))
        for key in (fqdn, ANY_HOST)
        for rule in read(DESTINATION_RULES, (namespace, key)) or ()
    )
    some = (r for r in rules if r.selector is not None or (r.export_to or mesh.destination_rules_to) != EVERYBODY)
    return any(host_matches(r.host, fqdn) for r in some)


def _found(registry: Registry, rules: Rules, key: PoolKey) -> tuple[Service, ServicePort, DestinationPolicy] | None:
    service = registry.services.get(key.fqdn)
    port = service.port(key.port) if service else None
    if service is None or port is None:
        return None
    policy = rules.policy(service.id, key.client or service.id.namespace)
    return None if key.subset and policy.subset(key.subset) is None else (service, port, policy)
