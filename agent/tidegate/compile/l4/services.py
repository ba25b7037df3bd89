"""Service ports that are not HTTP -> services of the fast path. Pure, one service port at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate.compile.l4.pools import where_dialled
from tidegate.compile.l4.settings import l4_balancing, l4_settings
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules, balancer
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.relay import L4Endpoint, L4Service, L4View


def l4_services(
    registry: Registry,
    rules: Rules,
    service: Service,
    port: ServicePort,
    addresses: tuple[IPAddress, ...],
    numbers: Mapping[str, int],
    views: Mapping[int, tuple[L4View, ...]],
) -> Iterator[L4Service]:
    """One per address family, because an endpoint is reached in the family that was dialled; in the other one only
    if it does not listen on that: a client that is refused would do so itself, but the relay has accepted it by then.
    numbers: of the service port's name and of second_family() of it. views: by family."""
    full_name = f"{service.id.fqdn}:{port.port}"
    settings = rules.policy(service.id, service.id.namespace).for_port(port.port)
    first = addresses[0].version
    versions = dict.fromkeys(a.version for a in addresses)
    straight = where_dialled(service, port, settings)
    every = () if straight else registry.endpoints(service, port)
    by_pod = {(e.pod.id, e.port, e.address.version): e.address for e in reversed(every) if e.pod}
    for version in versions:
        name = full_name if version == first else second_family(full_name)
        others = {
            (e.address, e.port): next((by_pod.get((e.pod.id, e.port, v)) for v in versions if v != version), None)
            for e in every
            if e.pod
        }
        found = tuple(e for e in every if e.address.version == version)
        endpoints = {(e.address, e.port): e.weight for e in registry.near(service, found)}
        yield L4Service(
            number=numbers[name],
            name=full_name,
            addresses=tuple((a, port.port) for a in addresses if a.version == version),
            balancing=l4_balancing(balancer(service, settings, rules.mesh)),
            settings=l4_settings(settings, service, rules.mesh, len(endpoints), chosen=not straight),
            counted_as=numbers[full_name],
            views=views.get(version, ()),
            endpoints=straight
            or tuple(
                L4Endpoint(a, p, weight, other=others.get((a, p)))
                for (a, p), weight in sorted(endpoints.items(), key=lambda e: (int(e[0][0]), e[0][1]))
            ),
        )


def second_family(name: str) -> str:
    """Name under which the other address family of a service port has its number."""
    return name + "/2"
