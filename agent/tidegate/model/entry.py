"""What the registry knows of a service beyond Kubernetes: how a ServiceEntry's endpoints are found, and the endpoints
that are no pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Network

from tidegate.model.net import IPAddress, IPNetwork, parse_ip
from tidegate.model.origin import Origin

UNIX = "unix://"
ANY = IPv6Network("::/0")  # every address of both families


class Resolution(Enum):
    """How the endpoints of a service are found."""

    STATIC = "STATIC"  # they are written down, or selected by labels
    DNS = "DNS"  # each name is resolved, and every address of it is an endpoint
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"  # one name, and each new connection takes the first address of it
    NONE = "NONE"  # the address that the application dialled is the endpoint

    @property
    def by_name(self) -> bool:
        """Whether endpoints may be names."""
        return self in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


@dataclass(frozen=True, slots=True)
class Workload:
    """A server that is no pod: an endpoint of a ServiceEntry, or a WorkloadEntry.

    address: an IP address, a host name in lower case, or unix:///PATH (unix://@NAME: an abstract one).
    """

    address: str
    ports: Mapping[str, int] = field(default_factory=dict)  # name of a service's port -> number here
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 0  # 0 = nobody says: as one
    locality: str = ""  # region/zone/subzone
    network: str = ""
    service_account: str = ""
    only: frozenset[int] = frozenset()  # numbers of service ports that it is behind; empty: all of them
    line: int = 0

    @property
    def ip(self) -> IPAddress | None:
        """Its address, if that is one."""
        try:
            return parse_ip(self.address)
        except ValueError:
            return None

    @property
    def path(self) -> str:
        """Of its socket in the node's file system (@NAME: an abstract one); empty if it is no unix socket."""
        return self.address.removeprefix(UNIX) if self.address.startswith(UNIX) else ""

    def serves(self, port: int) -> bool:
        """Whether it is behind a service's port of that number."""
        return not self.only or port in self.only

    @property
    def zone(self) -> str:
        """The second part of its locality."""
        return (*self.locality.split("/"), "", "")[1]


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """A workload that selectors find, as they find pods."""

    namespace: str
    name: str
    workload: Workload
    origin: Origin = Origin("WorkloadEntry", "", "")

    @property
    def labels(self) -> Mapping[str, str]:
        return self.workload.labels


@dataclass(frozen=True, slots=True)
class External:
    """What a service of the registry has from the ServiceEntry that made it."""

    resolution: Resolution
    endpoints: tuple[Workload, ...] = ()
    in_mesh: bool = False  # location MESH_INTERNAL
    subject_alt_names: tuple[str, ...] = ()
    ranges: tuple[IPNetwork, ...] = ()  # of addresses that were written as ranges
    # Where connections are meant for it, besides its addresses: ranges that are not written out. ANY: wherever they go.
    wide: tuple[IPNetwork, ...] = ()
