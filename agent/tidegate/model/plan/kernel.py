"""Rows of the kernel's tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from tidegate.model.net import IPAddress
from tidegate.model.tier import Tier

ANYWHERE: Final = IPv6Address("::")
# Scopes are numbers of 8 bits. NO_SCOPE has no rows: of whoever came too late for one nothing is known.
FIRST_SCOPE, LAST_SCOPE, NO_SCOPE = 1, 254, 255
WHOLE: Final = 128  # bits of an address, of IPv4 too


class L4Protocol(IntEnum):
    """Protocol of a destination, as IPPROTO_* numbers it (bpf/include/tg_abi.h, enum tg_protocol)."""

    TCP = 6
    UDP = 17


class DestinationKey(NamedTuple):
    """What a row of kernel map tg_dests is found by. port 0 = any port of the address; address ANYWHERE = every address
    that no other row has, for pods that may reach the registry only. scope 0 = of pods that see everything.

    bits below WHOLE: of kernel map tg_ranges, the row of a network; its prefix, of IPv4 with 96 more. ANYWHERE with 0
    bits is every address of both families. Asked when tg_dests has none."""

    address: IPAddress
    port: int
    protocol: L4Protocol = L4Protocol.TCP
    scope: int = 0
    bits: int = WHOLE

    @property
    def where(self) -> str:
        """The address, or the network."""
        of_family = self.bits - (96 if self.address.version == 4 else 0)
        return f"{self.address}/{max(of_family, 0)}" if self.bits < WHOLE else f"{self.address}"

    def __str__(self) -> str:
        scope = f" of scope {self.scope}" if self.scope else ""
        return f"{self.protocol.name} {self.where} port {self.port or 'any'}{scope}"


class InboundPort(NamedTuple):
    """A row of kernel map tg_inbound: what comes to this port of a pod goes to Envoy's inbound listener in it."""

    netns_cookie: int
    port: int
    version: int  # of IP

    def __str__(self) -> str:
        return f"IPv{self.version} port {self.port} of netns {self.netns_cookie}"


class GuardRow(NamedTuple):
    """Of a pod that policies are for. Without an address a row of kernel map tg_guards: whatever comes to it goes to
    the relay first (port 0), the node's probes of a port go to the application. With one a row of tg_guarded: who
    calls there is written down."""

    netns_cookie: int
    port: int = 0
    address: IPAddress | None = None

    @property
    def rank(self) -> int:
        """In which order they are written, and taken away the other way round: nobody is judged before it can be known
        who he is, and kubelet's probes never are."""
        return 0 if self.address is not None else 1 if self.port else 2

    def __str__(self) -> str:
        if self.address is not None:
            return f"callers of {self.address} of netns {self.netns_cookie}"
        return f"{f'probes of port {self.port}' if self.port else 'policies'} of netns {self.netns_cookie}"


@dataclass(frozen=True, slots=True)
class Destination:
    """A row of kernel map tg_dests or tg_ranges, see DestinationKey."""

    address: IPAddress
    port: int
    tier: Tier
    service: int  # number of the service (Plan.services), 0 = none
    protocol: L4Protocol = L4Protocol.TCP
    scope: int = 0
    bits: int = WHOLE

    @property
    def key(self) -> DestinationKey:
        return DestinationKey(self.address, self.port, self.protocol, self.scope, self.bits)
