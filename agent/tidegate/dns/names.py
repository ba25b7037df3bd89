"""What is answered to a question, and what is none of our business. Pure.

A name is answered if the registry has it: a host, a wildcard's, a server of a headless service, or what a search list
makes of one of these. All else is the resolver's: also a name of the cluster that the registry does not know, because
that it does not exist is for somebody to say who knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from tidegate.model.names import search_domains
from tidegate.model.net import IPAddress
from tidegate.model.plan.names import VIEW, HostNames, NamedPort, NamedServer

# Seconds that an answer may be kept: addresses of services stay, servers come and go.
TTL_SERVICE, TTL_SERVER = 30, 5
SERVERS_MAX = 1000  # of one answer: as many as fit into a message of 64 KiB


class RecordType(IntEnum):
    """Types of records that are answered (RFC 1035, 2782, 3596, 9460)."""

    A = 1
    CNAME = 5
    AAAA = 28
    SRV = 33
    SVCB = 64
    HTTPS = 65


# A record of these says where else, or how else, a host can be reached; of a host that the mesh routes nobody else may
# say it.
NONE_OF_THESE = (RecordType.SVCB, RecordType.HTTPS)


@dataclass(frozen=True, slots=True)
class ServedAt:
    """An SRV record's content."""

    target: str
    port: int


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name that the registry has. canonical: the one that its records belong to, if not what was asked for."""

    addresses: tuple[IPAddress, ...] = ()
    services: tuple[ServedAt, ...] = ()
    further: tuple[tuple[str, tuple[IPAddress, ...]], ...] = ()  # targets of services, with their addresses
    canonical: str = ""
    ttl: int = TTL_SERVICE


@dataclass(slots=True)
class NameTable:
    """The registry's names, by host. Use from one thread."""

    _hosts: dict[str, HostNames] = field(default_factory=dict)
    _servers: dict[str, dict[str, NamedServer]] = field(default_factory=dict)  # host -> label -> server

    def put(self, host: HostNames) -> None:
        """Add or replace a host."""
        self._hosts[host.host] = host
        self._servers.pop(host.host, None)
        if host.servers:
            self._servers[host.host] = {server.label: server for server in host.servers}

    def remove(self, host: str) -> None:
        """Forget a host; none of that name is fine."""
        self._hosts.pop(host, None)
        self._servers.pop(host, None)

    def clear(self) -> None:
        self._hosts.clear()
        self._servers.clear()

    def __len__(self) -> int:
        return len(self._hosts)

    def answer(self, name: str, kind: int, namespace: str) -> KnownName | None:
        """What a pod of a namespace (or of a view of it, Source.name) is answered; None: its resolver is to be asked.
        name: in lower case, complete, without its last dot. No address of the kind that is asked for is an answer."""
        for meant in self._meanings(name, namespace):
            found = self._found(meant, kind, namespace)
            if found is not None:
                return found if meant == name else replace(found, canonical=meant)
        return None

    def _meanings(self, name: str, namespace: str) -> Iterator[str]:
        """The name, and what it was before a search list was appended: a resolver tries one domain after the other, and
        would be kept waiting for an answer that the registry has under the next one."""
        yield name
        domains = search_domains(namespace.partition(VIEW)[0])
        for domain in domains:
            short = name.removesuffix(f".{domain}")
            if short != name:
                yield short
                for other in domains:
                    if other != domain:
                        yield f"{short}.{other}"

    def _found(self, name: str, kind: int, namespace: str) -> KnownName | None:
        host = self._host(name, namespace)
        if host is not None:
            return self._of_host(host, kind)
        label, _, rest = name.partition(".")
        if label.startswith("_"):
            return self._of_port(label, rest, kind, namespace)
        server = self._servers.get(rest, {}).get(label)
        if server is None or self._host(rest, namespace) is None:
            return None
        return _addresses(server.addresses, kind, TTL_SERVER)

    def _host(self, name: str, namespace: str) -> HostNames | None:
        """The host itself, or else the wildcard that is nearest."""
        known, rest = self._hosts.get(name), name
        while known is None or not _visible(known, namespace):
            _, _, rest = rest.partition(".")
            if not rest:
                return None
            known = self._hosts.get(f"*.{rest}")
        return known

    def _of_host(self, host: HostNames, kind: int) -> KnownName | None:
        if host.addresses:
            return _addresses(host.addresses, kind, TTL_SERVICE)
        everyone = tuple(ip for server in host.servers[:SERVERS_MAX] for ip in server.addresses)
        return _addresses(everyone, kind, TTL_SERVER) if everyone else None

    def _of_port(self, port: str, rest: str, kind: int, namespace: str) -> KnownName | None:
        """_PORT._PROTOCOL.HOST: where that port of a service is (Kubernetes' DNS specification 1.1.0, 2.3.2, 2.4.2)."""
        protocol, _, host_name = rest.partition(".")
        host = self._hosts.get(host_name)
        if host is None or not _visible(host, namespace) or not protocol.startswith("_"):
            return None
        wanted = (port[1:], protocol[1:])
        if host.addresses:
            numbers = _numbers(host.ports, wanted)
            found = [(ServedAt(host.host, number), host.addresses) for number in numbers]
        else:
            found = [
                (ServedAt(f"{server.label}.{host.host}", number), server.addresses)
                for server in host.servers[:SERVERS_MAX]
                for number in _numbers(server.ports, wanted)
            ]
        if not found:
            return None
        if kind != RecordType.SRV:
            return _addresses((), kind, TTL_SERVER)
        further = {service.target: addresses for service, addresses in found}
        return KnownName((), tuple(service for service, _ in found), tuple(further.items()), "", TTL_SERVER)


def _addresses(addresses: tuple[IPAddress, ...], kind: int, ttl: int) -> KnownName | None:
    if kind in (RecordType.A, RecordType.AAAA):
        version = 4 if kind == RecordType.A else 6
        return KnownName(tuple(ip for ip in addresses if ip.version == version), ttl=ttl)
    return KnownName(ttl=ttl) if kind in NONE_OF_THESE else None


def _visible(host: HostNames, namespace: str) -> bool:
    return not host.visible or namespace in host.visible


def _numbers(ports: Sequence[NamedPort], wanted: tuple[str, str]) -> Iterator[int]:
    return (p.number for p in ports if (p.name, p.protocol) == wanted)
