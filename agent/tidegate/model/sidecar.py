"""Sidecar: which services and rules of the mesh exist for a workload, and what stands in front of its own ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model.hosts import host_matches, overlap
from tidegate.model.kube import NO_AGE, Age, Protocol
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.selectors import selects
from tidegate.model.traffic import ConnectionPool

ANYWHERE, OWN = "*", "."


@dataclass(frozen=True, slots=True)
class Import:
    """`NAMESPACE/HOST` of an egress listener. namespace: a name, ANYWHERE or OWN; host may start with "*"."""

    namespace: str
    host: str

    def of(self, namespace: str, own: str) -> bool:
        """Whether objects of a namespace are meant, in a Sidecar for clients of the namespace own."""
        return self.namespace == ANYWHERE or namespace == (own if self.namespace == OWN else self.namespace)


@dataclass(frozen=True, slots=True)
class Egress:
    """One egress listener. port 0: every port that no other listener of the Sidecar has."""

    port: int = 0
    imports: tuple[Import, ...] = ()
    excluded: tuple[Import, ...] = ()  # written with "~" before the namespace

    def has_service(self, namespace: str, host: str, own: str) -> bool:
        """Whether a service is imported by its name."""
        return any(i.of(namespace, own) and host_matches(i.host, host) for i in self.imports) and not any(
            i.of(namespace, own) and host_matches(i.host, host) for i in self.excluded
        )

    def has_rule(self, namespace: str, hosts: tuple[str, ...], own: str) -> bool:
        """Whether a VirtualService is imported: one of its hosts and an imported one may mean the same name."""
        return any(
            i.of(namespace, own) and overlap(i.host, host)
            for host in hosts
            for i in self.imports
            if not any(x.of(namespace, own) and host_matches(x.host, host) for x in self.excluded)
        )


@dataclass(frozen=True, slots=True)
class Ingress:
    """One ingress listener: a port of the workload, and where what comes there is handed on."""

    port: int
    protocol: Protocol = Protocol.TCP
    to_port: int = 0  # 0: the same
    to_address: IPAddress | None = None  # of the pod's loopback; None: the one that was dialled
    pool: ConnectionPool | None = None  # None: that of all inbound ports

    @property
    def moves(self) -> bool:
        """Whether the application is elsewhere than where was dialled."""
        return self.to_address is not None or self.to_port not in (0, self.port)


@dataclass(frozen=True, slots=True)
class Sidecar:
    namespace: str
    name: str
    selector: Mapping[str, str] | None = None  # None: of every workload that has none of its own
    egress: tuple[Egress, ...] | None = None  # None: nothing is said, so everything is there
    registry_only: bool | None = None  # None: as the mesh
    ingress: tuple[Ingress, ...] = ()  # none: nothing is said, so services say what is served
    inbound_pool: ConnectionPool | None = None  # of all of its ports that say nothing else
    age: Age = NO_AGE
    origin: Origin = field(default=Origin("Sidecar", "", ""), compare=False)

    def chooses(self, labels: Mapping[str, str]) -> bool:
        """Whether it is written for workloads with these labels by a selector."""
        return self.selector is not None and selects(self.selector, labels)

    def listener(self, port: int) -> Egress | None:
        """The listener that is responsible for a port; None: nothing is imported there. Only if egress is not None."""
        own = next((e for e in self.egress or () if e.port == port), None)
        return own or next((e for e in self.egress or () if not e.port), None)
