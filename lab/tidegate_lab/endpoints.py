"""Which pods stand behind a Service. Plays the endpoints controller, for DNS and `lab expose`."""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.errors import Rejected, Transient
from tidegate_lab.cluster import ServiceObject
from tidegate_lab.dns_zone import Backend, ZoneService
from tidegate_lab.expansion import port_number
from tidegate_lab.pod import PodRunner


def pods_behind(service: ServiceObject, pods: Iterable[PodRunner]) -> list[PodRunner]:
    """Pods that the selector takes and that may be sent to: ready ones, or all if the Service publishes all."""
    selector = service.spec.selector
    return [
        runner
        for runner in pods
        if selector
        and runner.pod.id.namespace == service.name.namespace
        and all(runner.pod.labels.get(key) == value for key, value in selector.items())
        and runner.ips
        and (runner.ready or (service.spec.publish_not_ready_addresses and not runner.done))
    ]


def zone_service(service: ServiceObject, pods: Iterable[PodRunner]) -> ZoneService:
    """The service as DNS knows it."""
    external = service.spec.external_name if service.spec.type == "ExternalName" else ""
    backends = tuple(
        Backend(runner.ips, runner.pod.spec.hostname if runner.pod.spec.subdomain == service.name.name else "")
        for runner in pods_behind(service, pods)
    )
    return ZoneService(service.name, service.addresses, backends, external)


def address_of(service: ServiceObject, port: int, pods: Iterable[PodRunner]) -> list[tuple[str, int]]:
    """(address, target port) of every pod behind a TCP port. Raises Rejected (unknown port), Transient (none)."""
    ports = {p.port: p for p in service.spec.ports if p.protocol == "TCP"}
    if port not in ports:
        known = ", ".join(map(str, ports)) or "none"
        raise Rejected(f"service {service.name}", f"has no TCP port {port}", f"it has {known}")
    target = ports[port].target_port or port
    found: list[tuple[str, int]] = []
    for runner in pods_behind(service, pods):
        number = None
        for container in runner.pod.spec.long_running:
            try:
                number = port_number(container, target)
                break
            except Rejected:
                continue
        if number is not None:
            found.append((str(runner.ips[0]), number))
    if not found:
        raise Transient(f"service {service.name}", "has no ready endpoint", "see `tidegate lab pods`")
    return found
