"""TrafficPolicy: what happens to traffic once its destination is chosen, and where each field of it does something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Duration, PositiveDuration, Report
from tidegate.config.shapes.destination import PortSelector
from tidegate.config.shapes.envoy_text import OneLine
from tidegate.config.shapes.http_match import TOKEN
from tidegate.config.tree import YamlMap, format_path, line_of
from tidegate.model.traffic import (
    Balancing,
    ConnectionPool,
    ConsistentHash,
    Honoured,
    LoadBalancer,
    Outlier,
    TrafficPolicy,
    Written,
)


class HttpCookie(ApiModel):
    unsupported = frozenset({"attributes"})
    name: str = Field(min_length=1)
    path: OneLine = ""
    ttl: Duration | None = None


class RingHash(ApiModel):
    minimum_ring_size: int = limits.RING_SIZE.field(default=1024)


class Maglev(ApiModel):
    table_size: int = limits.MAGLEV_TABLE.field(default=0)


class ConsistentHashDoc(ApiModel):
    http_header_name: str = ""
    http_cookie: HttpCookie | None = None
    use_source_ip: bool = False
    http_query_parameter_name: str = ""
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "minimumRingSize" in data:
            if "ringHash" in data:
                report.say(data, "minimumRingSize", say.EXCLUSIVE(first="minimumRingSize", second="ringHash"))
            line = data.lines["minimumRingSize"]
            ring = YamlMap((*data.path, "ringHash"), line)
            ring.put("minimumRingSize", data.pop("minimumRingSize"), line)
            data.put("ringHash", ring, line)

    def to_model(self, report: Report) -> ConsistentHash:
        given = [self.http_header_name, self.http_cookie, self.use_source_ip, self.http_query_parameter_name]
        if sum(bool(g) for g in given) != 1:
            report.say(
                self, None, say.NEEDS_ONE_OF(names="httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName")
            )
        if self.http_header_name and not TOKEN.fullmatch(self.http_header_name):
            report.say(self, "httpHeaderName", say.NO_HEADER(name=self.http_header_name))
        cookie = self.http_cookie
        if cookie is not None and not TOKEN.fullmatch(cookie.name):
            report.say(cookie, "name", say.NO_COOKIE(name=cookie.name))
        table = self.maglev.table_size if self.maglev else 0
        if table and not limits.is_prime(table):
            report.say(self, ("maglev", "tableSize"), say.NOT_PRIME(given=table))
        return ConsistentHash(
            header=self.http_header_name,
            cookie=cookie.name if cookie else "",
            cookie_path=cookie.path if cookie else "",
            cookie_ttl_ms=cookie.ttl if cookie else None,
            source_ip=self.use_source_ip,
            query=self.http_query_parameter_name,
            ring_size=self.ring_hash.minimum_ring_size if self.ring_hash else 1024,
            maglev_table=self.maglev.table_size if self.maglev else None,
        )


class LoadBalancerDoc(ApiModel):
    unsupported = frozenset({"localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"})
    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashDoc | None = None

    def to_model(self, report: Report) -> LoadBalancer:
        if self.consistent_hash is not None:
            if self.simple is not None:
                report.say(self, "simple", say.EXCLUSIVE(first="simple", second="consistentHash"))
            return LoadBalancer(Balancing.CONSISTENT_HASH, self.consistent_hash.to_model(report))
        if self.simple in (None, "UNSPECIFIED", "LEAST_CONN"):
            return LoadBalancer()
        return LoadBalancer(Balancing(self.simple))


class TcpKeepalive(ApiModel):
    probes: int = limits.KEEPALIVE_PROBES.field(default=0)
    time: PositiveDuration | None = None
    interval: PositiveDuration | None = None

    def check(self, report: Report) -> None:
        """Envoy and Linux count these in whole seconds."""
        for key, given, limit in (
            ("time", self.time, limits.KEEPALIVE_SECONDS),
            ("interval", self.interval, limits.KEEPALIVE_INTERVAL_SECONDS),
        ):
            if given is not None and given % 1000:
                report.say(self, key, say.WHOLE_SECONDS())
            elif given is not None and not limit.least <= given // 1000 <= limit.most:
                report.say(self, key, say.OUT_OF_BOUNDS(detail=f"must be {limit.least}s to {limit.most}s"))


class TcpSettings(ApiModel):
    max_connections: int = limits.MAX_CONNECTIONS.field(default=0)
    connect_timeout: PositiveDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    idle_timeout: Duration | None = None
    max_connection_duration: PositiveDuration | None = None


class HttpSettings(ApiModel):
    unsupported = frozenset({"useClientProtocol", "maxConcurrentStreams", "http2KeepAlive", "http2Keepalive"})
    http1_max_pending_requests: int = limits.MAX_PENDING.field(default=0, alias="http1MaxPendingRequests")
    http2_max_requests: int = limits.MAX_REQUESTS.field(default=0, alias="http2MaxRequests")
    max_requests_per_connection: int = limits.REQUESTS_PER_CONNECTION.field(default=0)
    max_retries: int = limits.MAX_RETRIES.field(default=0)
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = Field(
        default="DEFAULT", alias="h2UpgradePolicy"
    )


class ConnectionPoolDoc(ApiModel):
    tcp: TcpSettings = Field(default_factory=TcpSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)

    def to_model(self, report: Report) -> ConnectionPool:
        if not ({"tcp", "http"} & set(self.at)):
            report.say(self, None, say.NEEDS_ONE_OF(names="tcp, http"))
        tcp, http = self.tcp, self.http
        keepalive = tcp.tcp_keepalive
        if keepalive is not None:
            keepalive.check(report)
        return ConnectionPool(
            max_connections=tcp.max_connections,
            connect_timeout_ms=tcp.connect_timeout or 0,
            keepalive_probes=keepalive.probes if keepalive else 0,
            keepalive_time_ms=(keepalive.time or 0) if keepalive else 0,
            keepalive_interval_ms=(keepalive.interval or 0) if keepalive else 0,
            max_pending=http.http1_max_pending_requests,
            max_requests=http.http2_max_requests,
            max_requests_per_connection=http.max_requests_per_connection,
            max_retries=http.max_retries,
            idle_timeout_ms=http.idle_timeout if http.idle_timeout is not None else tcp.idle_timeout,
            tcp_idle_ms=tcp.idle_timeout,
            max_connection_ms=tcp.max_connection_duration or 0,
            h2_upgrade=None if http.h2_upgrade_policy == "DEFAULT" else http.h2_upgrade_policy == "UPGRADE",
        )


class OutlierDoc(ApiModel):
    unsupported = frozenset(
        {"splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures", "outlierDetectionHttpErrorCodes"}
    )
    consecutive_5xx_errors: int | None = limits.CONSECUTIVE_5XX.field(default=None, alias="consecutive5xxErrors")
    consecutive_gateway_errors: int | None = limits.CONSECUTIVE_GATEWAY.field(default=None)
    interval: PositiveDuration | None = None
    base_ejection_time: PositiveDuration | None = None
    max_ejection_percent: int = limits.MAX_EJECTION.field(default=0)
    min_health_percent: int = limits.MIN_HEALTH.field(default=0)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "consecutiveErrors" in data:
            report.say(data, "consecutiveErrors", say.READ_AS(new='"consecutive5xxErrors"'))
            if "consecutive5xxErrors" in data:
                del data["consecutiveErrors"]
            else:
                data.rename("consecutiveErrors", "consecutive5xxErrors")

    def to_model(self) -> Outlier:
        return Outlier(
            consecutive_5xx=self.consecutive_5xx_errors,
            consecutive_gateway=self.consecutive_gateway_errors,
            interval_ms=self.interval or 0,
            base_ejection_ms=self.base_ejection_time or 0,
            max_ejection_percent=self.max_ejection_percent,
            min_health_percent=self.min_health_percent,
        )


class PolicyBlocks(ApiModel):
    """What a destination, a subset and a port can all say."""

    unsupported = frozenset({"tls", "tunnel", "proxyProtocol", "retryBudget"})
    load_balancer: LoadBalancerDoc | None = None
    connection_pool: ConnectionPoolDoc | None = None
    outlier_detection: OutlierDoc | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        # "no TLS" is what happens anyway; only another wish deserves a warning.
        if isinstance(tls := data.get("tls"), YamlMap) and dict(tls) == {"mode": "DISABLE"}:
            del data["tls"]

    def blocks(self, report: Report) -> TrafficPolicy:
        return TrafficPolicy(
            load_balancer=self.load_balancer.to_model(report) if self.load_balancer else None,
            connection_pool=self.connection_pool.to_model(report) if self.connection_pool else None,
            outlier=self.outlier_detection.to_model() if self.outlier_detection else None,
        )

    def written(self, port: int, subset: bool) -> Iterator[Written]:
        """Each field that is set, and where it does something."""
        balancer = self.load_balancer
        if balancer is not None and balancer.consistent_hash is not None:
            hashed = balancer.consistent_hash
            for key in hashed.at:
                yield _written(
                    hashed, key, Honoured.EVERYWHERE if key == "useSourceIp" else Honoured.HTTP, port, subset
                )
        elif balancer is not None and "simple" in balancer.at:
            passed = balancer.simple == "PASSTHROUGH"
            yield _written(balancer, "simple", Honoured.HTTP_YET if passed else Honoured.EVERYWHERE, port, subset)
        if (pool := self.connection_pool) is not None:
            for key in pool.tcp.at:
                yield _written(pool.tcp, key, Honoured.EVERYWHERE, port, subset)
            for key in pool.http.at:
                yield _written(pool.http, key, Honoured.HTTP, port, subset)
        if self.outlier_detection is not None:
            yield _written(self, "outlierDetection", Honoured.EVERYWHERE, port, subset)


def _written(at: ApiModel, key: str, honoured: Honoured, port: int, subset: bool) -> Written:
    return Written(line_of(at.at, (key,)), format_path((*at.at.path, key)), honoured, port, subset)


class PortPolicyDoc(PolicyBlocks):
    port: PortSelector


class TrafficPolicyDoc(PolicyBlocks):
    port_level_settings: list[PortPolicyDoc] = Field(default=[], max_length=4096)

    def to_model(self, report: Report) -> TrafficPolicy:
        blocks = self.blocks(report)
        ports: dict[int, TrafficPolicy] = {}
        for entry in self.port_level_settings:
            if entry.port.number in ports:
                report.say(entry, "port", say.TWICE(what=f"port {entry.port.number}"))
            ports[entry.port.number] = entry.blocks(report)
        return replace(blocks, ports=ports)

    def all_written(self, subset: bool) -> Iterator[Written]:
        yield from self.written(0, subset)
        for entry in self.port_level_settings:
            yield from entry.written(entry.port.number, subset)
