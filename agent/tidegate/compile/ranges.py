"""Connections that are meant for a service by more than its addresses: to a range that is too wide to be written out,
or to any address at all (resolution: NONE without addresses). Pure.

What is dialled does not say which of several hosts is meant there: the request says it, or the name in a TLS client's
first message, and of what says nothing only one service can have it. So a port of a range belongs to the oldest service
that wants it and to all others that speak the same; to TCP alone belongs the oldest alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidegate.compile.derive import Read, derived
from tidegate.compile.tables import WIDE
from tidegate.model.entry import ANY
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress, IPNetwork
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.service_entry import Speech
from tidegate.model.tier import Tier

Member = tuple[Service, ServicePort]


@dataclass(frozen=True, slots=True)
class Range:
    """A port of all addresses of a network, and those who may be meant there, the oldest first."""

    network: IPNetwork  # ANY: every address of both families
    port: int
    speech: Speech
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """By which it has its number."""
        return f"{self.network}:{self.port}"

    @property
    def told_as(self) -> str:
        """What people are told of its connections as long as nothing says more: FQDN:PORT, or *:PORT."""
        return f"*:{self.port}" if self.goes_by_name else f"{self.members[0][0].id.fqdn}:{self.port}"

    @property
    def goes_by_name(self) -> bool:
        """Whether the client has to say which host it means."""
        return self.speech is Speech.HTTP or (
            self.speech is Speech.TLS and (self.network == ANY or len(self.members) > 1)
        )

    @property
    def tier(self) -> Tier:
        return Tier.ENVOY if self.speech is Speech.HTTP else Tier.FASTPATH

    @property
    def place(self) -> tuple[IPAddress, int]:
        """Address and bits of its row in the kernel."""
        if self.network == ANY:
            return ANYWHERE, 0
        return self.network.network_address, self.network.prefixlen + (96 if self.network.version == 4 else 0)

    def has(self, address: IPAddress) -> bool:
        """Whether connections to an address are of it, if no longer prefix has them."""
        return self.network == ANY or (address.version == self.network.version and address in self.network)


@derived
def ranges(read: Read, _: str) -> tuple[Range, ...]:
    """All ranges, by network and port."""
    found: dict[tuple[IPNetwork, int], list[Member]] = {}
    services = sorted(read.all(WIDE).values(), key=lambda s: (s.age, s.id))
    for service in services:
        assert service.external is not None
        for network in service.external.wide:
            for port in service.tcp_ports:
                found.setdefault((network, port.port), []).append((service, port))
    return tuple(sorted(_made(found), key=lambda r: (int(r.place[0]), r.place[1], r.port)))


@derived
def by_name(read: Read, _: str) -> Mapping[str, Range]:
    """The same by Range.name."""
    return {found.name: found for found in read(ranges, "")}


def _made(found: dict[tuple[IPNetwork, int], list[Member]]) -> Iterator[Range]:
    for (network, number), members in found.items():
        speech = Speech.of(members[0][1])
        same = [member for member in members if Speech.of(member[1]) is speech]
        yield Range(network, number, speech, tuple(same[:1] if speech is Speech.TCP else same))


def range_at(read: Read, address: IPAddress, port: int) -> Range | None:
    """The range that connections to an address and port are of, where no service has that very address."""
    those = [r for r in read(ranges, "") if r.port == port and r.has(address)]
    return max(those, key=lambda r: r.place[1], default=None)
