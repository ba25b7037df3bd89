"""What a name or an address means in a pod, as its resolver and the mesh see it."""

from __future__ import annotations

from tidegate.compile.derive import Read
from tidegate.compile.explain.explanation import Hop
from tidegate.compile.names import servers_of
from tidegate.compile.outbound.destinations import claimants
from tidegate.compile.tables import SERVICES
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
                server = next((s for s in self._read(servers_of, above.id.fqdn) if s.label == hostname), None)
                if server is not None:
                    self.hops.append(Hop("name", f"{hostname} is the name of a server of {above.id}"))
                    return above, server.addresses[0]
            elif above is not None and above.id.fqdn.startswith("*") and above.addresses:
                return above, above.addresses[0]
        return None, None

    def _addresses(self, service: Service) -> tuple[IPAddress, ...]:
        if not service.headless:
            return service.addresses
        return tuple(address for server in self._read(servers_of, service.id.fqdn) for address in server.addresses)


def default_port(service: Service | None) -> int:
    """The port that is meant when none is given: the only one, else the first HTTP port, else the first."""
    ports = service.tcp_ports if service else ()
    if not ports:
        return 80
    return next((p.port for p in ports if p.protocol.is_http), ports[0].port)
