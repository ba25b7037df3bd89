"""Which endpoint a request gets: the load balancer of a traffic policy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Duration, PositiveDuration, Report
from tidegate.config.shapes.envoy_text import OneLine
from tidegate.config.shapes.http_match import TOKEN
from tidegate.config.shapes.locality import LocalityDoc
from tidegate.config.tree import YamlMap
from tidegate.model.traffic import Balancing, ConsistentHash, LoadBalancer, Warmup


class CookieAttribute(ApiModel):
    name: str = Field(min_length=1)
    value: OneLine = ""


class HttpCookie(ApiModel):
    name: str = Field(min_length=1)
    path: OneLine = ""
    ttl: Duration | None = None
    attributes: list[CookieAttribute] = []

    def named(self, report: Report) -> tuple[tuple[str, str], ...]:
        """The attributes, each once."""
        if not TOKEN.fullmatch(self.name):
            report.say(self, "name", say.NO_COOKIE(name=self.name))
        if ";" in self.path:
            report.say(self, "path", say.LINE_BREAK(what="a semicolon (which ends an attribute)"))
        seen: set[str] = set()
        for attribute in self.attributes:
            if not TOKEN.fullmatch(attribute.name):
                report.say(attribute, "name", say.NO_HEADER(name=attribute.name))
            if attribute.name in seen:
                report.say(attribute, "name", say.TWICE(what=f"attribute {attribute.name!r}"))
            if ";" in attribute.value:
                report.say(attribute, "value", say.LINE_BREAK(what="a semicolon (which ends an attribute)"))
            seen.add(attribute.name)
        return tuple((a.name, a.value) for a in self.attributes)


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
            for other in ("ringHash", "maglev"):
                if other in data:
                    report.say(data, "minimumRingSize", say.EXCLUSIVE(first="minimumRingSize", second=other))
            line = data.lines["minimumRingSize"]
            ring = YamlMap((*data.path, "ringHash"), line)
            ring.put("minimumRingSize", data.pop("minimumRingSize"), line)
            data.put("ringHash", ring, line)

    def to_model(self, report: Report) -> ConsistentHash:
        given = [self.http_header_name, self.http_cookie, self.use_source_ip, self.http_query_parameter_name]
        keys = "httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"
        if sum(bool(g) for g in given) > 1:
            report.say(self, None, say.NEEDS_ONE_OF(names=keys))
        elif not any(given):
            report.say(self, None, say.NO_EFFECT(why=f"a request goes to anybody unless one of {keys} is given"))
        if self.http_header_name and not TOKEN.fullmatch(self.http_header_name):
            report.say(self, "httpHeaderName", say.NO_HEADER(name=self.http_header_name))
        cookie = self.http_cookie
        attributes = cookie.named(report) if cookie else ()
        table = self.maglev.table_size if self.maglev else 0
        if table and not limits.is_prime(table):
            report.say(self, ("maglev", "tableSize"), say.NOT_PRIME(given=table))
        return ConsistentHash(
            header=self.http_header_name,
            cookie=cookie.name if cookie else "",
            cookie_path=cookie.path if cookie else "",
            cookie_ttl_ms=cookie.ttl if cookie else None,
            cookie_attributes=attributes,
            source_ip=self.use_source_ip,
            query=self.http_query_parameter_name,
            ring_size=self.ring_hash.minimum_ring_size if self.ring_hash else 1024,
            maglev_table=self.maglev.table_size if self.maglev else None,
        )


class WarmupDoc(ApiModel):
    duration: PositiveDuration
    minimum_percent: float | None = limits.WARMUP_PERCENT.field(default=None)
    aggression: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def to_model(self) -> Warmup:
        """What is left out is upstream's default, not Envoy's."""
        percent = 10.0 if self.minimum_percent is None else self.minimum_percent
        return Warmup(self.duration, percent, 1.0 if self.aggression is None else self.aggression)


class LoadBalancerDoc(ApiModel):
    unsupported = frozenset({"zoneAwareLbSetting"})
    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashDoc | None = None
    locality_lb_setting: LocalityDoc | None = None
    warmup: WarmupDoc | None = None
    warmup_duration_secs: PositiveDuration | None = None

    def to_model(self, report: Report, outlier: bool) -> LoadBalancer:
        """outlier: whether there is outlier detection beside it, without which nobody turns to another locality."""
        locality = self.locality_lb_setting
        near = locality.to_model(report, outlier) if locality else None
        balancing, hashed = self._balancing(), None
        if self.consistent_hash is not None:
            if self.simple is not None:
                report.say(self, "simple", say.EXCLUSIVE(first="simple", second="consistentHash"))
            balancing, hashed = Balancing.CONSISTENT_HASH, self.consistent_hash.to_model(report)
        return LoadBalancer(balancing, hashed, self._warmup(balancing, report), near)

    def _balancing(self) -> Balancing:
        return Balancing.LEAST_REQUEST if self.simple in (None, "UNSPECIFIED", "LEAST_CONN") else Balancing(self.simple)

    def _warmup(self, balancing: Balancing, report: Report) -> Warmup | None:
        key = "warmup" if self.warmup is not None else "warmupDurationSecs"
        if self.warmup is None and self.warmup_duration_secs is None:
            return None
        if balancing not in (Balancing.LEAST_REQUEST, Balancing.ROUND_ROBIN):
            report.say(
                self, key, say.NO_EFFECT(why=f"{balancing.value} knows no warm-up, only ROUND_ROBIN and LEAST_REQUEST")
            )
            return None
        if self.warmup is not None:
            if self.warmup_duration_secs is not None:
                report.say(self, "warmupDurationSecs", say.IGNORED_BESIDE(old="warmupDurationSecs", new="warmup"))
            return self.warmup.to_model()
        return Warmup(self.warmup_duration_secs or 0)
