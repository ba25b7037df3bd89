"""How many connections and requests, for how long, and when an endpoint counts as sick."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Duration, PositiveDuration, Report, listify
from tidegate.config.tree import YamlMap
from tidegate.model.traffic import ConnectionPool, Outlier


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
    max_connection_duration: PositiveDuration | None = None
    idle_timeout: Duration | None = None


class Http2KeepAlive(ApiModel):
    interval: PositiveDuration
    timeout: PositiveDuration


class HttpSettings(ApiModel):
    http1_max_pending_requests: int = limits.MAX_PENDING.field(default=0, alias="http1MaxPendingRequests")
    http2_max_requests: int = limits.MAX_REQUESTS.field(default=0, alias="http2MaxRequests")
    max_requests_per_connection: int = limits.REQUESTS_PER_CONNECTION.field(default=0)
    max_retries: int = limits.MAX_RETRIES.field(default=0)
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = Field(
        default="DEFAULT", alias="h2UpgradePolicy"
    )
    use_client_protocol: bool = False
    max_concurrent_streams: int | None = limits.MAX_STREAMS.field(default=None)
    http2_keep_alive: Http2KeepAlive | None = Field(default=None, alias="http2KeepAlive")

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if data.get("maxConcurrentStreams") == 0:
            del data["maxConcurrentStreams"]  # the API's way to say nothing


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
        if http.use_client_protocol and http.h2_upgrade_policy == "UPGRADE":
            report.say(http, "useClientProtocol", say.EXCLUSIVE(first="useClientProtocol", second="UPGRADE"))
        ping = http.http2_keep_alive
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
            client_protocol=http.use_client_protocol,
            max_streams=http.max_concurrent_streams or 0,
            ping_interval_ms=ping.interval if ping else 0,
            ping_timeout_ms=ping.timeout if ping else 0,
            h2_upgrade=None if http.h2_upgrade_policy == "DEFAULT" else http.h2_upgrade_policy == "UPGRADE",
        )


class OutlierDoc(ApiModel):
    consecutive_5xx_errors: int | None = limits.CONSECUTIVE_5XX.field(default=None, alias="consecutive5xxErrors")
    consecutive_gateway_errors: int | None = limits.CONSECUTIVE_GATEWAY.field(default=None)
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: int | None = limits.CONSECUTIVE_LOCAL.field(default=None)
    outlier_detection_http_error_codes: list[Annotated[int, limits.RETRIABLE_CODE.field()]] = []
    interval: PositiveDuration | None = None
    base_ejection_time: PositiveDuration | None = None
    max_ejection_percent: int = limits.MAX_EJECTION.field(default=0)
    min_health_percent: int = limits.MIN_HEALTH.field(default=0)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "outlierDetectionHttpErrorCodes")
        if "consecutiveErrors" in data:
            report.say(data, "consecutiveErrors", say.READ_AS(new='"consecutive5xxErrors"'))
            if "consecutive5xxErrors" in data:
                del data["consecutiveErrors"]
            else:
                data.rename("consecutiveErrors", "consecutive5xxErrors")

    def to_model(self, report: Report) -> Outlier:
        if self.consecutive_local_origin_failures and not self.split_external_local_origin_errors:
            report.say(self, "consecutiveLocalOriginFailures", say.NEEDS_BESIDE(other="splitExternalLocalOriginErrors"))
        return Outlier(
            split_local=self.split_external_local_origin_errors,
            consecutive_local=self.consecutive_local_origin_failures or 0,
            codes=tuple(dict.fromkeys(self.outlier_detection_http_error_codes)),
            consecutive_5xx=self.consecutive_5xx_errors,
            consecutive_gateway=self.consecutive_gateway_errors,
            interval_ms=self.interval or 0,
            base_ejection_ms=self.base_ejection_time or 0,
            max_ejection_percent=self.max_ejection_percent,
            min_health_percent=self.min_health_percent,
        )
