"""Rows of the kernel's tables."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from tidegate.model.net import IPAddress
from tidegate.model.tier import Tier


class L4Protocol(IntEnum):
    """Protocol of a destination, as IPPROTO_* numbers it (bpf/include/tg_abi.h, enum tg_protocol)."""

    TCP = 6
    UDP = 17


class DestinationKey(NamedTuple):
    """What a row of kernel map tg_dests is found by. port 0 = any port of the address."""

    address: IPAddress
    port: int
    protocol: L4Protocol = L4Protocol.TCP

    def __str__(self) -> str:
        return f"{self.protocol.name} {self.address} port {self.port or 'any'}"


@dataclass(frozen=True, slots=True)
class Destination:
    """A row of kernel map tg_dests. port 0 = any port of the address."""

    address: IPAddress
    port: int
    tier: Tier
    service: int  # number of the service (Plan.services), 0 = none
    protocol: L4Protocol = L4Protocol.TCP

    @property
    def key(self) -> DestinationKey:
        return DestinationKey(self.address, self.port, self.protocol)
