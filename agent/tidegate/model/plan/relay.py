"""Services that the relay serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from tidegate.model.net import IPAddress, IPNetwork


class LoadBalancing(IntEnum):
    """L4 balancing of the fast path; values equal enum fp_lb (a test compares them)."""

    LEAST_REQUEST = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    SOURCE = 3


@dataclass(frozen=True, slots=True)
class L4Endpoint:
    address: IPAddress  # ANYWHERE: the one that was dialled, and port 0: the port that was
    port: int
    weight: int = 1
    other: IPAddress | None = None  # its address of the other family, for a server that listens on that only


@dataclass(frozen=True, slots=True, kw_only=True)
class L4Outlier:
    """When an endpoint to which connecting fails is left out, and for how long."""

    failures: int  # in a row
    base_ms: int  # the n-th time n times as long
    interval_ms: int  # without being left out, after which it counts as once less
    most_percent: int  # of the endpoints at once
    panic_percent: int  # with fewer of them left all are used


@dataclass(frozen=True, slots=True, kw_only=True)
class L4Settings:
    """What a DestinationRule asks of connections, in the kernel's ranges. 0 = the relay's default, or the system's."""

    connect_timeout_ms: int = 0  # of each attempt
    max_connections: int = 0  # at once
    keepalive_time_s: int = 0
    keepalive_interval_s: int = 0
    keepalive_probes: int = 0
    affinity_s: int = 0  # by SOURCE: a client keeps its endpoint until it stayed away as long; 0 = it may be moved
    idle_ms: int = 0  # without a byte, after which a connection is ended
    duration_ms: int = 0  # after which it is ended whatever it does
    outlier: L4Outlier | None = None  # None = endpoints that fail are tried again and again


@dataclass(frozen=True, slots=True)
class L4Target:
    number: int  # of the service whose endpoints are meant
    weight: int  # above 0


@dataclass(frozen=True, slots=True)
class L4Rule:
    """Where connections go that fulfil all conditions; an empty condition is none, no targets lead nowhere."""

    targets: tuple[L4Target, ...]
    names: tuple[str, ...] = ()  # said in a TLS client's first message; "*" in front = one character or more
    subnets: tuple[IPNetwork, ...] = ()  # of the dialled address


@dataclass(frozen=True, slots=True)
class L4View:
    """What clients see of a service: the first rule that fits. No rules: the service itself."""

    rules: tuple[L4Rule, ...]
    clients: tuple[int, ...] = ()  # netns cookies, ascending; none = everybody for whom no view before is


@dataclass(frozen=True, slots=True)
class L4Service:
    """A service port served by the fast path, or one that routes of others lead to. Address ANYWHERE: it is found by
    its number where no service has what was dialled."""

    number: int
    name: str  # FQDN:port
    addresses: tuple[tuple[IPAddress, int], ...]  # VIPs with the service port; none = only routes lead here
    balancing: LoadBalancing
    endpoints: tuple[L4Endpoint, ...]
    settings: L4Settings = L4Settings()
    counted_as: int = 0  # number of the service with which its connections are counted, if they are bounded
    views: tuple[L4View, ...] = ()

    @property
    def routed_to(self) -> Iterator[L4Target]:
        """Every target of its rules."""
        return (target for view in self.views for rule in view.rules for target in rule.targets)
