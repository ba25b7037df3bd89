"""Service ports that are not HTTP -> services of the fast path. Pure, one service port at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules, balancer
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress
from tidegate.model.plan.relay import L4Endpoint, L4Service, L4Settings, LoadBalancing
from tidegate.model.traffic import Balancing, ConnectionPool, LoadBalancer, TrafficPolicy

_MOST_MS = 2**32 - 1
# tcp(7) leaves them out: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and MAX_TCP_KEEPCNT of include/net/tcp.h.
_MOST_SECONDS, _MOST_PROBES = 32767, 127
_DEFAULTS = L4Settings()
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
    settings = rules.policy(service.id, service.id.namespace).for_port(port.port)
    first = addresses[0].version
    versions = dict.fromkeys(a.version for a in addresses)
    every = registry.endpoints(service, port)
    by_pod = {(e.pod.id, e.port, e.address.version): e.address for e in reversed(every) if e.pod}
    for version in versions:
        name = full_name if version == first else second_family(full_name)
        others = {
            (e.address, e.port): next((by_pod.get((e.pod.id, e.port, v)) for v in versions if v != version), None)
            for e in every
            if e.pod
        }
        found = tuple(e for e in every if e.address.version == version)
        endpoints = {(e.address, e.port) for e in registry.near(service, found)}
        yield L4Service(
            number=numbers[name],
            name=full_name,
            addresses=tuple((a, port.port) for a in addresses if a.version == version),
            balancing=_balancing(balancer(service, settings, rules.mesh)),
            settings=_settings(settings, service, rules.mesh.connect_timeout_ms),
            counted_as=numbers[full_name],
            endpoints=tuple(
                L4Endpoint(a, p, other=others.get((a, p)))
                for a, p in sorted(endpoints, key=lambda e: (int(e[0]), e[1]))
            ),
        )


def _balancing(chosen: LoadBalancer | None) -> LoadBalancing:
    if chosen is None:
        return LoadBalancing.LEAST_REQUEST
    if chosen.hash is not None and chosen.hash.source_ip:
        return LoadBalancing.SOURCE
    return _BALANCING.get(chosen.balancing, LoadBalancing.LEAST_REQUEST)


def _settings(policy: TrafficPolicy, service: Service, connect_timeout_ms: int) -> L4Settings:
    """What the relay does of a connection pool; config/kinds/effect.py warns of the rest."""
    if policy.connection_pool is None and not service.affinity_s and not connect_timeout_ms:
        return _DEFAULTS  # one for thousands of services
    pool = policy.connection_pool or ConnectionPool()
    return L4Settings(
        affinity_s=service.affinity_s if policy.load_balancer is None else 0,
        connect_timeout_ms=min(pool.connect_timeout_ms or connect_timeout_ms, _MOST_MS),
        max_connections=pool.max_connections,
        keepalive_time_s=_seconds(pool.keepalive_time_ms),
        keepalive_interval_s=_seconds(pool.keepalive_interval_ms),
        keepalive_probes=min(pool.keepalive_probes, _MOST_PROBES),
    )


def _seconds(ms: int) -> int:
    return min((ms + 999) // 1000, _MOST_SECONDS)  # up: 0 would mean the system's own


def second_family(name: str) -> str:
    """Name under which the other address family of a service port has its number."""
    return name + "/2"
