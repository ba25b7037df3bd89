"""What a name or an address means in a pod, as its resolver and the mesh see it."""

from __future__ import annotations

from tidegate.compile.derive import Read
from tidegate.compile.explain.explanation import Hop
from tidegate.compile.outbound.destinations import claimants
from tidegate.compile.registry import Registry, written
from tidegate.compile.tables import PODS_BY_SERVICE, SERVICES
from tidegate.model.hosts import is_address
from tidegate.model.kube import Service
from tidegate.model.names import ServiceName, search_domains
from tidegate.model.net import IPAddress, parse_ip


class Names:
    """Resolves for one namespace; hops says which aliases were followed."""

    def __init__(self, read: Read, namespace: str) -> None:
        self._read = read
        self._namespace = namespace
        self.hops: list[Hop] = []

    def dialled(self, host: str) -> tuple[Service | None, IPAddress | None]:
        """The service that is meant, and the (first) address that would be dialled, through the aliases that a resolver
        follows."""
        seen: set[ServiceName] = set()
        service, address = self._resolve(host)
        while service is not None and service.external_name and service.id not in seen:
            seen.add(service.id)
            self.hops.append(Hop("name", f"{service.id} is an ExternalName: an alias of {service.external_name}"))
            service, address = self._resolve(service.external_name.rstrip("."))
        return service, address

    def _resolve(self, host: str) -> tuple[Service | None, IPAddress | None]:
        if is_address(host):
            address = parse_ip(host)
            return next(iter(claimants(self._read, address)), None), address
        for name in (host, *(f"{host}.{domain}" for domain in search_domains(self._namespace))):
            service = self._read(SERVICES, name)
            if service is not None:
                addresses = self._addresses(service)
                return service, (addresses[0] if addresses else None)
            hostname, _, rest = name.partition(".")
            above = self._read(SERVICES, rest) or self._read(SERVICES, f"*.{rest}")
            if above is not None and above.headless:
                member = Registry(self._read).members(above).get(hostname)
                if member:
                    self.hops.append(Hop("name", f"{hostname} is a pod of {above.id}, by a name of its own"))
                    return above, member[0]
            elif above is not None and above.id.fqdn.startswith("*") and above.addresses:
                return above, above.addresses[0]
        return None, None

    def _addresses(self, service: Service) -> tuple[IPAddress, ...]:
        if not service.headless:
            return service.addresses
        pods = self._read(PODS_BY_SERVICE, service.id.fqdn) or ()
        ips = (ip for pod in pods if pod.ready or service.publish_not_ready for ip in pod.ips)
        return (*ips, *(endpoint.address for endpoint in written(self._read, service) if endpoint.ready))


def default_port(service: Service | None) -> int:
    """The port that is meant when none is given: the only one, else the first HTTP port, else the first."""
    ports = service.tcp_ports if service else ()
    if not ports:
        return 80
    return next((p.port for p in ports if p.protocol.is_http), ports[0].port)
