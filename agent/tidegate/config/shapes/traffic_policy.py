"""TrafficPolicy: what happens to traffic once its destination is chosen, and where each field of it does something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.client_tls import ClientTlsDoc
from tidegate.config.shapes.connection_pool import ConnectionPoolDoc, OutlierDoc
from tidegate.config.shapes.destination import PortSelector
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.shapes.load_balancer import LoadBalancerDoc
from tidegate.config.tree import YamlMap, format_path, line_of
from tidegate.model.hosts import is_address
from tidegate.model.traffic import Honoured, ProxyProtocol, RetryBudget, TrafficPolicy, Tunnel, Written


class PolicyBlocks(ApiModel):
    """What a destination, a subset and a port can all say."""

    load_balancer: LoadBalancerDoc | None = None
    connection_pool: ConnectionPoolDoc | None = None
    outlier_detection: OutlierDoc | None = None
    tls: ClientTlsDoc | None = None

    def blocks(self, report: Report, namespace: str) -> TrafficPolicy:
        """namespace: of the rule."""
        outlier = self.outlier_detection
        return TrafficPolicy(
            load_balancer=self.load_balancer.to_model(report, outlier is not None) if self.load_balancer else None,
            connection_pool=self.connection_pool.to_model(report) if self.connection_pool else None,
            outlier=outlier.to_model(report) if outlier else None,
            tls=self.tls.to_model(report, namespace) if self.tls else None,
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
            found = _written(balancer, "simple", Honoured.EVERYWHERE, port, subset)
            yield replace(found, passes=balancer.simple == "PASSTHROUGH")
        for key in ("localityLbSetting", "warmup", "warmupDurationSecs"):
            if balancer is not None and key in balancer.at:
                yield _written(balancer, key, Honoured.EVERYWHERE, port, subset)
        if self.tls is not None and self.tls.mode in ("SIMPLE", "MUTUAL"):
            yield _written(self, "tls", Honoured.EVERYWHERE, port, subset)
        if (pool := self.connection_pool) is not None:
            for key in pool.tcp.at:
                yield _written(pool.tcp, key, Honoured.EVERYWHERE, port, subset)
            for key in pool.http.at:
                yield _written(pool.http, key, Honoured.HTTP, port, subset)
        if self.outlier_detection is not None:
            yield _written(self, "outlierDetection", Honoured.EVERYWHERE, port, subset)


_BLOCKS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")


def _written(at: ApiModel, key: str, honoured: Honoured, port: int, subset: bool) -> Written:
    return Written(line_of(at.at, (key,)), format_path((*at.at.path, key)), honoured, port, subset)


class PortPolicyDoc(PolicyBlocks):
    port: PortSelector

    def blocks(self, report: Report, namespace: str) -> TrafficPolicy:
        if not set(_BLOCKS) & set(self.at):
            report.say(self, None, say.NEEDS_ONE_OF(names=", ".join(_BLOCKS)))
        return super().blocks(report, namespace)


class ProxyProtocolDoc(ApiModel):
    version: Literal["V1", "V2"] = "V1"


class RetryBudgetDoc(ApiModel):
    unsupported = frozenset({"budgetInterval"})  # our Envoy's API has no such field
    percent: float | None = limits.RETRY_PERCENT.field(default=None)
    min_retry_concurrency: int = limits.MIN_RETRIES.field(default=0)

    def to_model(self) -> RetryBudget:
        usual = RetryBudget()
        return RetryBudget(
            usual.percent if self.percent is None else self.percent, self.min_retry_concurrency or usual.at_least
        )


class TunnelDoc(ApiModel):
    protocol: Literal["CONNECT", "POST"] = "CONNECT"
    target_host: str
    target_port: int = limits.PORT.field()

    def to_model(self, report: Report) -> Tunnel:
        if not (is_address(self.target_host) or (is_host(self.target_host) and "*" not in self.target_host)):
            report.say(self, "targetHost", say.NO_HOST(given=self.target_host))
        return Tunnel(host=self.target_host, port=self.target_port, post=self.protocol == "POST")


class TrafficPolicyDoc(PolicyBlocks):
    port_level_settings: list[PortPolicyDoc] = Field(default=[], max_length=4096)
    proxy_protocol: ProxyProtocolDoc | None = None
    retry_budget: RetryBudgetDoc | None = None
    tunnel: TunnelDoc | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if not data:
            report.say(data, None, say.NEEDS_ONE_OF(names=", ".join((*_BLOCKS, "portLevelSettings, ..."))))
        if "tunnel" in data and "proxyProtocol" in data:
            report.say(data, "tunnel", say.EXCLUSIVE(first="tunnel", second="proxyProtocol"))
        listify(data, "portLevelSettings")

    def to_model(self, report: Report, namespace: str) -> TrafficPolicy:
        """namespace: of the rule."""
        ports: dict[int, TrafficPolicy] = {}
        for entry in self.port_level_settings:
            if entry.port.number in ports:
                report.say(entry, "port", say.TWICE(what=f"port {entry.port.number}"))
            ports[entry.port.number] = entry.blocks(report, namespace)
        return replace(
            self.blocks(report, namespace),
            ports=ports,
            proxy_protocol=ProxyProtocol(self.proxy_protocol.version) if self.proxy_protocol else None,
            retry_budget=self.retry_budget.to_model() if self.retry_budget else None,
            tunnel=self.tunnel.to_model(report) if self.tunnel else None,
        )

    def all_tls(self) -> Iterator[ClientTlsDoc]:
        """What is said of TLS, at every level."""
        yield from (blocks.tls for blocks in (self, *self.port_level_settings) if blocks.tls is not None)

    def all_written(self, subset: bool) -> Iterator[Written]:
        """Each field that is set, at every level."""
        yield from self.written(0, subset)
        if self.proxy_protocol is not None:
            yield _written(self, "proxyProtocol", Honoured.EVERYWHERE, 0, subset)
        if self.retry_budget is not None:
            yield _written(self, "retryBudget", Honoured.HTTP, 0, subset)
        if self.tunnel is not None:
            yield _written(self, "tunnel", Honoured.CONNECTIONS, 0, subset)
        for entry in self.port_level_settings:
            yield from entry.written(entry.port.number, subset)
