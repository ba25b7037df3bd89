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
    SOURCE = 3


@dataclass(frozen=True, slots=True)
class L4Endpoint:
    address: IPAddress
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class L4Settings:
    """What a DestinationRule asks of connections, in the kernel's ranges. 0 = the relay's default, or the system's."""

    connect_timeout_ms: int = 0  # of each attempt
    max_connections: int = 0  # at once
    keepalive_time_s: int = 0
    keepalive_interval_s: int = 0
    keepalive_probes: int = 0
    affinity_s: int = 0  # by SOURCE: a client keeps its endpoint until it stayed away as long; 0 = it may be moved


@dataclass(frozen=True, slots=True)
class L4Service:
    """A service port served by the fast path."""

    number: int
    name: str  # FQDN:port
    addresses: tuple[tuple[IPAddress, int], ...]  # VIPs with the service port
    balancing: LoadBalancing
    endpoints: tuple[L4Endpoint, ...]
    settings: L4Settings = L4Settings()
    counted_as: int = 0  # number of the service with which its connections are counted, if they are bounded
