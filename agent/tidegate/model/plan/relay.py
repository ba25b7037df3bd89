"""Services that the relay serves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tidegate.model.net import IPAddress


class LoadBalancing(IntEnum):
    """L4 balancing of the fast path; values equal enum fp_lb (a test compares them)."""

    LEAST_REQUEST = 0
    ROUND_ROBIN = 1
    RANDOM = 2


@dataclass(frozen=True, slots=True)
class L4Endpoint:
    address: IPAddress
    port: int
    weight: int = 1
    other: IPAddress | None = None  # its address of the other family, for a server that listens on that only


@dataclass(frozen=True, slots=True)
class L4Service:
    """A service port served by the fast path."""

    number: int
    name: str  # FQDN:port
    addresses: tuple[tuple[IPAddress, int], ...]  # VIPs with the service port
    balancing: LoadBalancing
    endpoints: tuple[L4Endpoint, ...]
