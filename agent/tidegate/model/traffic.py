"""DestinationRule after reading: what happens to traffic once its destination is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tidegate.model.exports import exported
from tidegate.model.kube import NO_AGE, Age
from tidegate.model.origin import Origin


class Balancing(Enum):
    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"  # to the address that the application dialled
    CONSISTENT_HASH = "CONSISTENT_HASH"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentHash:
    """Exactly one of header, cookie, source_ip, query says what is hashed."""

    header: str = ""
    cookie: str = ""
    cookie_path: str = ""
    cookie_ttl_ms: int | None = None  # None = never make one; 0 = session cookie
    source_ip: bool = False
    query: str = ""
    ring_size: int = 1024
    maglev_table: int | None = None  # not None = Maglev; 0 = its default size


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    balancing: Balancing = Balancing.LEAST_REQUEST
    hash: ConsistentHash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """0 = not limited / Envoy's default."""

    max_connections: int = 0
    connect_timeout_ms: int = 0
    keepalive_probes: int = 0
    keepalive_time_ms: int = 0
    keepalive_interval_ms: int = 0
    max_pending: int = 0
    max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    idle_timeout_ms: int | None = None
    h2_upgrade: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    consecutive_5xx: int | None = None  # 0 = not counted
    consecutive_gateway: int | None = None
    interval_ms: int = 0
    base_ejection_ms: int = 0
    max_ejection_percent: int = 0
    min_health_percent: int = 0


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier: Outlier | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)

    @property
    def plain(self) -> TrafficPolicy:
        """What decides where traffic goes and which protocol it speaks, and nothing that Envoy could refuse."""
        balancer, pool = self.load_balancer, self.connection_pool
        hashed = balancer is None or balancer.balancing is Balancing.CONSISTENT_HASH
        return TrafficPolicy(
            load_balancer=None if hashed else balancer,
            connection_pool=None if pool is None else ConnectionPool(h2_upgrade=pool.h2_upgrade),
            ports={port: policy.plain for port, policy in self.ports.items()},
        )

    def for_port(self, port: int) -> TrafficPolicy:
        """A port entry replaces the whole policy: what it leaves out goes back to defaults, not to the level above."""
        return self.ports.get(port, replace(self, ports={}))

    def overlaid(self, upper: TrafficPolicy, port: int) -> TrafficPolicy:
        """This policy (already for_port) with a subset's policy on top, block by block, never field by field."""
        if port in upper.ports:
            return upper.ports[port]
        return TrafficPolicy(
            upper.load_balancer or self.load_balancer,
            upper.connection_pool or self.connection_pool,
            upper.outlier or self.outlier,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: TrafficPolicy = TrafficPolicy()
    line: int = 0


class Honoured(Enum):
    """Where a field of a traffic policy does something."""

    EVERYWHERE = "everywhere"
    HTTP = "on HTTP ports; it has no meaning for anything else"
    HTTP_YET = "on HTTP ports; on TCP ports not yet"


@dataclass(frozen=True, slots=True)
class Written:
    """A field of a traffic policy, as somebody wrote it."""

    line: int
    path: str  # spec.trafficPolicy.connectionPool.tcp.idleTimeout
    honoured: Honoured
    port: int = 0  # of portLevelSettings; 0 = of every port
    subset: bool = False


@dataclass(frozen=True, slots=True)
class DestinationRule:
    namespace: str
    name: str
    host: str  # full name in lower case, may start with "*"
    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()  # none: as MeshConfig says
    written: tuple[Written, ...] = ()
    age: Age = NO_AGE
    origin: Origin = Origin("DestinationRule", "", "")

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)

    def exported_to(self, namespace: str, default: tuple[str, ...] = ("*",)) -> bool:
        """Whether exportTo, or without one the mesh's default, lets clients of that namespace use it."""
        return exported(self.export_to or default, self.namespace, namespace)
