"""Service ports that are not HTTP -> services of the fast path. Pure, one service port at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.relay import L4Endpoint, L4Service, LoadBalancing
from tidegate.model.traffic import Balancing

_BALANCING = {
    Balancing.ROUND_ROBIN: LoadBalancing.ROUND_ROBIN,
    Balancing.RANDOM: LoadBalancing.RANDOM,
}


def l4_services(
    registry: Registry,
    rules: Rules,
    service: Service,
    port: ServicePort,
    addresses: tuple[IPAddress, ...],
    numbers: Mapping[str, int],
) -> Iterator[L4Service]:
    """One per address family, because an endpoint is reached in the family that was dialled; in the other one only
    if it does not listen on that: a client that is refused would do so itself, but the relay has accepted it by then.
    numbers: of the service port's name and of second_family() of it."""
    full_name = f"{service.id.fqdn}:{port.port}"
    balancer = rules.policy(service.id, service.id.namespace).for_port(port.port).load_balancer
    balancing = _BALANCING.get(balancer.balancing, LoadBalancing.LEAST_REQUEST) if balancer else None
    first = addresses[0].version
    versions = dict.fromkeys(a.version for a in addresses)
    found = registry.endpoints(service, port)
    by_pod = {(e.pod.id, e.port, e.address.version): e.address for e in reversed(found) if e.pod}
    for version in versions:
        name = full_name if version == first else second_family(full_name)
        others = {
            (e.address, e.port): next((by_pod.get((e.pod.id, e.port, v)) for v in versions if v != version), None)
            for e in found
            if e.pod
        }
        endpoints = {(e.address, e.port) for e in found if e.address.version == version}
        yield L4Service(
            number=numbers[name],
            name=full_name,
            addresses=tuple((a, port.port) for a in addresses if a.version == version),
            balancing=LoadBalancing.LEAST_REQUEST if balancing is None else balancing,
            endpoints=tuple(
                L4Endpoint(a, p, other=others.get((a, p)))
                for a, p in sorted(endpoints, key=lambda e: (int(e[0]), e[1]))
            ),
        )


def second_family(name: str) -> str:
    """Name under which the other address family of a service port has its number."""
    return name + "/2"
