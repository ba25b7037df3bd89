"""DestinationRule after reading: what happens to traffic once its destination is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tidegate.model.exports import exported
from tidegate.model.kube import NO_AGE, Age
from tidegate.model.locality import LocalityPreference
from tidegate.model.origin import Origin


class Balancing(Enum):
    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"  # to the address that the application dialled
    CONSISTENT_HASH = "CONSISTENT_HASH"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentHash:
    """One of header, cookie, source_ip, query says what is hashed; without any a request may go to whoever."""

    header: str = ""
    cookie: str = ""
    cookie_path: str = ""
    cookie_ttl_ms: int | None = None  # None = never make one; 0 = session cookie
    cookie_attributes: tuple[tuple[str, str], ...] = ()  # of one that is made
    source_ip: bool = False
    query: str = ""
    ring_size: int = 1024
    maglev_table: int | None = None  # not None = Maglev; 0 = its default size

    @property
    def by_request(self) -> bool:
        """Whether anything of a request decides."""
        return bool(self.header or self.cookie or self.source_ip or self.query)


@dataclass(frozen=True, slots=True)
class Warmup:
    """A new endpoint gets its whole share only after a while. None: Envoy's own default."""

    window_ms: int
    minimum_percent: float | None = None
    aggression: float | None = None


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    balancing: Balancing = Balancing.LEAST_REQUEST
    hash: ConsistentHash | None = None
    warmup: Warmup | None = None
    locality: LocalityPreference | None = None  # None: as is usual


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
    tcp_idle_ms: int | None = None  # of a connection that is not HTTP; 0 = for ever
    max_connection_ms: int = 0
    h2_upgrade: bool | None = None
    client_protocol: bool = False  # what the client speaks, whatever the port is declared to be
    max_streams: int = 0  # of HTTP/2 on one connection
    ping_interval_ms: int = 0
    ping_timeout_ms: int = 0


USUAL_EJECTION_PERCENT = 10  # Envoy's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    consecutive_5xx: int | None = None  # 0 = not counted
    consecutive_gateway: int | None = None
    split_local: bool = False  # errors of our own making (no connection, timeouts) are counted apart
    consecutive_local: int = 0
    codes: tuple[int, ...] = ()  # statuses that count as errors; empty: 5xx
    interval_ms: int = 0
    base_ejection_ms: int = 0
    max_ejection_percent: int = 0  # 0 = USUAL_EJECTION_PERCENT
    min_health_percent: int = 0


class TlsMode(Enum):
    """What a client does."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"  # with a certificate of the client's
    ISTIO_MUTUAL = "ISTIO_MUTUAL"  # with the one that the mesh gives to each workload, and the mesh's authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """TLS that begins behind the application. Paths are those of model/tls_files.py."""

    mode: TlsMode
    certificate: str = ""
    key: str = ""
    ca: str = ""  # "" = whom the system trusts
    crl: str = ""
    credential: str = ""  # name of a Secret of the client's namespace, in place of paths
    names: tuple[str, ...] = ()  # one of which the server's certificate must have; empty: the host that is asked for
    sni: str = ""  # "" = the host that is asked for
    verify: bool = True
    # Of ISTIO_MUTUAL, the Secret that is the client's certificate; "" = of many clients each shows its own.
    own: str = ""
    protocols: tuple[str, ...] = ()  # ALPN of ISTIO_MUTUAL

    @property
    def originates(self) -> bool:
        return self.mode is not TlsMode.DISABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A request to the endpoint, a proxy, by which it connects to somebody else: host and port are that one's."""

    host: str
    port: int
    post: bool = False  # the method: CONNECT if not


class ProxyProtocol(Enum):
    V1 = "V1"
    V2 = "V2"


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many of the requests on their way may be retries."""

    percent: float = 20.0
    at_least: int = 3


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier: Outlier | None = None
    ports: Mapping[int, TrafficPolicy] = field(default_factory=dict)
    tls: ClientTls | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None  # of connections that are not HTTP
    mesh_near: LocalityPreference | None = None  # MeshConfig's, of a policy that says nothing of places itself

    @property
    def near(self) -> LocalityPreference | None:
        """Which endpoints are rather used for where they stand; None: as is usual."""
        own = self.load_balancer.locality if self.load_balancer else None
        return own or self.mesh_near

    @property
    def client_labels(self) -> frozenset[str]:
        """Labels of a client by which its endpoints are put in order, at any port."""
        own = self.near.client_labels if self.near else frozenset()
        return own.union(*(policy.client_labels for policy in self.ports.values()))

    @property
    def plain(self) -> TrafficPolicy:
        """What decides where traffic goes and how it is spoken, and else nothing that Envoy could refuse: what should
        be encrypted does not go out in plain text because a number was too large."""
        balancer, pool = self.load_balancer, self.connection_pool
        hashed = balancer is None or balancer.balancing is Balancing.CONSISTENT_HASH
        kept = ConnectionPool() if pool is None else pool
        return TrafficPolicy(
            load_balancer=None if balancer is None or hashed else LoadBalancer(balancer.balancing),
            connection_pool=None
            if pool is None
            else ConnectionPool(h2_upgrade=kept.h2_upgrade, client_protocol=kept.client_protocol),
            ports={port: policy.plain for port, policy in self.ports.items()},
            tls=self.tls,
            proxy_protocol=self.proxy_protocol,
            tunnel=self.tunnel,
        )

    def for_port(self, port: int) -> TrafficPolicy:
        """A port entry replaces the whole policy: what it leaves out goes back to defaults, not to the level above."""
        return self.ports.get(port, replace(self, ports={}))

    def overlaid(self, upper: TrafficPolicy, port: int) -> TrafficPolicy:
        """This policy (already for_port) with a subset's policy on top, block by block, never field by field.

        An entry of the subset for the port replaces all that such an entry can say; of what it cannot say the subset's
        own word holds, else the level below.
        """
        top = upper.ports.get(port)
        return TrafficPolicy(
            top.load_balancer if top else upper.load_balancer or self.load_balancer,
            top.connection_pool if top else upper.connection_pool or self.connection_pool,
            top.outlier if top else upper.outlier or self.outlier,
            {},
            top.tls if top else upper.tls or self.tls,
            upper.proxy_protocol or self.proxy_protocol,
            upper.retry_budget or self.retry_budget,
            upper.tunnel or self.tunnel,
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
    CONNECTIONS = "on TCP and TLS ports; requests are not tunnelled"


@dataclass(frozen=True, slots=True)
class Written:
    """A field of a traffic policy, as somebody wrote it."""

    line: int
    path: str  # spec.trafficPolicy.connectionPool.tcp.idleTimeout
    honoured: Honoured
    port: int = 0  # of portLevelSettings; 0 = of every port
    subset: bool = False
    passes: bool = False  # it says that the client's choice of an endpoint stands


@dataclass(frozen=True, slots=True)
class Credential:
    """A Secret by which pods begin TLS, as somebody wrote it, and what it has to hold."""

    name: str
    certificate: bool
    authorities: bool
    line: int
    path: str


@dataclass(frozen=True, slots=True)
class DestinationRule:
    namespace: str
    name: str
    host: str  # full name in lower case, may start with "*"
    policy: TrafficPolicy = TrafficPolicy()
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()  # none: as MeshConfig says
    selector: Mapping[str, str] | None = None  # of the clients that it is for, in its own namespace; None: all
    written: tuple[Written, ...] = ()
    credentials: tuple[Credential, ...] = ()  # of its own namespace, which the pods that it selects need
    age: Age = NO_AGE
    origin: Origin = Origin("DestinationRule", "", "")

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)

    @property
    def looks_at_clients(self) -> bool:
        """Whether it looks at more of a client than its namespace."""
        policies = (self.policy, *(subset.policy for subset in self.subsets))
        return self.selector is not None or any(policy.client_labels for policy in policies)

    def audience(self, default: tuple[str, ...]) -> frozenset[str]:
        """The namespaces of exportTo, or without one of the mesh's default, by their names; * is all."""
        return frozenset(self.namespace if e == "." else e for e in self.export_to or default)

    def exported_to(self, namespace: str, default: tuple[str, ...] = ("*",)) -> bool:
        """Whether exportTo, or without one the mesh's default, lets clients of that namespace use it."""
        return exported(self.export_to or default, self.namespace, namespace)
