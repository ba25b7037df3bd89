"""Names of Services and pods, by the Kubernetes DNS specification 1.1.0, as far as a lab needs it. Pure.

A lab has no kube-proxy, so a service address means something only where Tidegate captures connections. Who is not
captured (a pod outside of the mesh, or any pod with --mesh off) gets the addresses of the ready endpoints instead,
which works as long as a Service's port equals its targetPort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address

from tidegate.model.names import ServiceName, cluster_domain
from tidegate.model.net import IPAddress


class Code(IntEnum):
    """DNS response codes (RFC 1035 4.1.1)."""

    NOERROR = 0
    NXDOMAIN = 3


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod behind a service."""

    ips: tuple[IPAddress, ...]
    hostname: str = ""  # a name of its own below the service: spec.hostname, when spec.subdomain is the service


@dataclass(frozen=True, slots=True)
class ZoneService:
    name: ServiceName
    addresses: tuple[IPAddress, ...] = ()  # none: headless
    backends: tuple[Backend, ...] = ()
    external_name: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    type: str  # A, AAAA, CNAME, PTR
    value: str


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    code: Code
    records: tuple[Record, ...] = ()


NOTHING = DnsAnswer(Code.NXDOMAIN)


@dataclass(frozen=True)
class Zone:
    """All names of the lab at one moment."""

    services: Mapping[ServiceName, ZoneService] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()

    @classmethod
    def of(cls, services: Iterable[ZoneService], namespaces: Iterable[str]) -> Zone:
        return cls({service.name: service for service in services}, frozenset(namespaces))

    def answer(self, name: str, kind: str, captured: bool) -> DnsAnswer:
        """Answer a question; the name's last dot and its case do not matter. captured: may the asker get VIPs?"""
        name = name.lower().rstrip(".")
        labels = tuple(name.split("."))
        if labels[-2:] in (("in-addr", "arpa"), ("ip6", "arpa")):
            return self._reverse(name, kind)
        services = ("svc", *cluster_domain().split("."))
        if labels[-len(services) :] != services:
            return DnsAnswer(Code.NOERROR) if services[-len(labels) :] == labels else NOTHING
        path = labels[: -len(services)]
        if len(path) < 2:
            return DnsAnswer(Code.NOERROR) if not path or path[0] in self.namespaces else NOTHING
        service = self.services.get(ServiceName(path[-1], path[-2]))
        if service is None:
            return NOTHING
        if len(path) == 2:
            return self._service(name, kind, service, captured)
        hosts = [backend for backend in service.backends if len(path) == 3 and backend.hostname == path[0]]
        return _addresses(name, kind, [ip for host in hosts for ip in host.ips]) if hosts else NOTHING

    def _service(self, name: str, kind: str, service: ZoneService, captured: bool) -> DnsAnswer:
        if service.external_name:
            target = service.external_name.rstrip(".")
            alias = Record(name, "CNAME", target)
            return DnsAnswer(Code.NOERROR, (alias, *self.answer(target, kind, captured).records))
        if service.addresses and captured:
            return _addresses(name, kind, service.addresses)
        return _addresses(name, kind, [ip for backend in service.backends for ip in backend.ips])

    def _reverse(self, name: str, kind: str) -> DnsAnswer:
        address = _reversed_address(name)
        for service in self.services.values():
            if address in service.addresses:
                return _pointer(name, kind, service.name.fqdn)
            for backend in service.backends:
                if backend.hostname and address in backend.ips:
                    return _pointer(name, kind, f"{backend.hostname}.{service.name.fqdn}")
        return NOTHING


def _addresses(name: str, kind: str, ips: Sequence[IPAddress]) -> DnsAnswer:
    wanted = {"A": 4, "AAAA": 6}.get(kind)
    return DnsAnswer(Code.NOERROR, tuple(Record(name, kind, str(ip)) for ip in ips if ip.version == wanted))


def _pointer(name: str, kind: str, target: str) -> DnsAnswer:
    return DnsAnswer(Code.NOERROR, (Record(name, "PTR", target),) if kind == "PTR" else ())


def _reversed_address(name: str) -> IPAddress | None:
    labels = name.split(".")[-3::-1]
    try:
        if name.endswith(".in-addr.arpa"):
            return ip_address(".".join(labels))
        digits = "".join(labels)
        return ip_address(":".join(digits[n : n + 4] for n in range(0, len(digits), 4)))
    except ValueError:
        return None
