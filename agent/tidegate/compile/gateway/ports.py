"""Which servers of which Gateways are one port of a workload. Pure.

Gateways of one workload are read the oldest first. Servers of plain HTTP share a port, and so do servers of TLS whose
hosts differ; for everything else the older one has the port, and the newer one is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.compile.facts import Facts, target_port
from tidegate.model.gateway import Gateway, GatewayWorkload, Server, ServerProtocol
from tidegate.model.selectors import selects


@dataclass(frozen=True, slots=True)
class Served:
    """A server of a Gateway."""

    gateway: Gateway
    server: Server

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken to it."""
        return self.server.tls is not None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A server that is not in force, or only in part, and why."""

    served: Served
    why: str


@dataclass(slots=True)
class GatewayPort:
    """One address and port of the workload, and who is served there: all in plain HTTP, all in TLS, or one in TCP."""

    bind: str  # empty = every address
    number: int  # of the first server: as clients of the workload's Service know it
    listen: int  # at which the workload listens
    servers: list[Served] = field(default_factory=list)

    @property
    def plain_http(self) -> bool:
        return self.servers[0].server.protocol is ServerProtocol.HTTP

    @property
    def secure(self) -> bool:
        return self.servers[0].secure

    @property
    def name(self) -> str:
        """Unique among the ports of a workload."""
        return f"{self.bind or '0.0.0.0'}_{self.listen}"


def gateways_of(facts: Facts, workload: GatewayWorkload) -> list[Gateway]:
    """The Gateways that select a workload, the oldest first."""
    mine = (g for g in facts.mesh.gateways if selects(g.selector, workload.labels))
    return sorted(mine, key=lambda g: (g.age, g.namespace, g.name))


def ports_of(facts: Facts, workload: GatewayWorkload) -> tuple[list[GatewayPort], list[LeftOut]]:
    """The ports of a workload, in the order in which they were found, and what is left out."""
    found: dict[tuple[str, int], GatewayPort] = {}
    left_out: list[LeftOut] = []
    listens = listening(facts, workload)
    for gateway in gateways_of(facts, workload):
        for server in gateway.servers:
            served = Served(gateway, server)
            for number in listens.get(server.port, (server.port,)):
                port = found.setdefault((server.bind, number), GatewayPort(server.bind, server.port, number))
                why = _why_not(port, served)
                if why:
                    left_out.append(LeftOut(served, why))
                else:
                    port.servers.append(served)
    return [port for port in found.values() if port.servers], left_out


def listening(facts: Facts, workload: GatewayWorkload) -> Mapping[int, tuple[int, ...]]:
    """Port of a Service that leads to the workload -> the ports of its pods that are behind it.

    A Gateway names the port that clients dial. Where no Service knows it the workload listens at that port itself.
    """
    found: dict[int, set[int]] = {}
    for service in facts.services.values():
        mine = service.id.namespace == workload.namespace and service.selector
        if mine and selects(service.selector, workload.labels):
            for port in service.tcp_ports:
                if isinstance(port.target, int):
                    numbers = {port.target or port.port}
                else:
                    pods = facts.pods_by_service.get(service.id.fqdn, ())
                    written = (e for s in facts.slices_by_service.get(service.id.fqdn, ()) for e in s.endpoints)
                    numbers = {number for pod in pods if (number := target_port(port, pod))}
                    if service.by_slices:
                        numbers = {number for endpoint in written if (number := endpoint.port(port.name))}
                found.setdefault(port.port, set()).update(numbers)
    return {port: tuple(sorted(numbers)) for port, numbers in found.items() if numbers}


def _why_not(port: GatewayPort, served: Served) -> str:
    """Why a server cannot have a port beside those that are there; empty if it can."""
    if not port.servers:
        return ""
    first = port.servers[0]
    place = first.gateway.origin.at_line(first.server.line).rstrip()
    of = f"{first.gateway.ref} ({place})" if place else first.gateway.ref
    if served.secure and first.secure:
        mine = _names(served.server)
        for other in port.servers:
            if common := sorted(mine & _names(other.server)):
                return f"{common[0]} is served at port {port.number} by the older Gateway {other.gateway.ref} already"
        return ""
    both_http = served.server.protocol is first.server.protocol is ServerProtocol.HTTP
    return "" if both_http else f"port {port.number} belongs to {first.server.protocol.name} of the older Gateway {of}"


def _names(server: Server) -> set[str]:
    return {host.host for host in server.hosts}
