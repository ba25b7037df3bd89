"""HTTPRoute: what a request is compared with, and what becomes of it."""

from __future__ import annotations

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Duration, Report, listify
from tidegate.config.shapes.destination import DestinationDoc, check_weights
from tidegate.config.shapes.http_action import (
    CorsDoc,
    DirectResponseDoc,
    HeadersDoc,
    MirrorDoc,
    RedirectDoc,
    RetryDoc,
    RewriteDoc,
    old_header_fields,
)
from tidegate.config.shapes.http_fault import FaultDoc, Percentage, old_percent
from tidegate.config.shapes.http_match import MatchDoc
from tidegate.config.tree import YamlMap
from tidegate.model.routing import Delegate, HttpRoute, Match, Mirror, WeightedTarget


class WeightedDoc(ApiModel):
    destination: DestinationDoc
    weight: int = limits.WEIGHT.field(default=0)
    headers: HeadersDoc = Field(default_factory=HeadersDoc)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_header_fields(data, report)


class DelegateDoc(ApiModel):
    name: str = Field(min_length=1)
    namespace: str = ""


class HttpRouteDoc(ApiModel):
    name: str = ""
    match: list[MatchDoc] = []
    route: list[WeightedDoc] = []
    redirect: RedirectDoc | None = None
    direct_response: DirectResponseDoc | None = None
    delegate: DelegateDoc | None = None
    rewrite: RewriteDoc | None = None
    timeout: Duration | None = None
    retries: RetryDoc | None = None
    fault: FaultDoc | None = None
    mirror: DestinationDoc | None = None
    mirror_percentage: Percentage | None = None
    mirrors: list[MirrorDoc] = []
    cors_policy: CorsDoc | None = None
    headers: HeadersDoc = Field(default_factory=HeadersDoc)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if isinstance(data.get("match"), YamlMap):
            report.say(data, "match", say.LIST_OF_ONE())
        listify(data, "match", "route")
        old_header_fields(data, report)
        old_percent(data, "mirrorPercent", "mirrorPercentage", report)
        if "websocketUpgrade" in data:
            report.say(data, "websocketUpgrade", say.NO_EFFECT(why="WebSocket upgrades always work"))
            del data["websocketUpgrade"]

    def to_model(self, namespace: str, report: Report) -> HttpRoute:
        self._check_action(report)
        redirect = self.redirect.to_model(report) if self.redirect else None
        matches = tuple(m.to_model(report) for m in self.match)
        if (
            redirect
            and redirect.prefix is not None
            and any(m.uri is not None and m.uri.how is not Match.PREFIX for m in matches)
        ):
            report.say(self, ("redirect", "prefixRewrite"), say.PREFIX_REWRITE())
        return HttpRoute(
            name=self.name,
            matches=matches,
            targets=tuple(
                WeightedTarget(
                    target=w.destination.to_model(namespace, report),
                    weight=w.weight,
                    headers=w.headers.to_model(report),
                )
                for w in self.route
            ),
            redirect=redirect,
            direct_response=self.direct_response.to_model(report) if self.direct_response else None,
            rewrite=self.rewrite.to_model(report) if self.rewrite else None,
            timeout_ms=self.timeout or 0,
            retries=self.retries.to_model(report) if self.retries else None,
            fault=self.fault.to_model(report) if self.fault else None,
            mirrors=self._mirrors(namespace, report),
            cors=self.cors_policy.to_model(report) if self.cors_policy else None,
            headers=self.headers.to_model(report),
            delegate=Delegate(self.delegate.namespace or namespace, self.delegate.name) if self.delegate else None,
            line=self.line,
        )

    def _check_action(self, report: Report) -> None:
        actions = [k for k in ("route", "redirect", "directResponse", "delegate") if k in self.at]
        if len(actions) != 1:
            what = " and ".join(actions) + " exclude each other" if actions else "no action"
            report.say(self, None, say.ONE_ACTION(what=what))
            return
        if actions[0] == "route":
            check_weights(self, [w.weight for w in self.route], report)
        elif actions[0] != "delegate":
            for key in ("fault", "rewrite"):
                if key in self.at:
                    report.say(self, key, say.NOT_WITH_ACTION(action=actions[0]))

    def _mirrors(self, namespace: str, report: Report) -> tuple[Mirror, ...]:
        if self.mirror is not None and self.mirrors:
            report.say(self, "mirrors", say.EXCLUSIVE(first="mirror", second="mirrors"))
        if self.mirror is not None:
            share = Mirror(self.mirror.to_model(namespace, report)).share
            if self.mirror_percentage is not None:
                share = self.mirror_percentage.share(report)
            found = [Mirror(self.mirror.to_model(namespace, report), share)]
        else:
            found = [Mirror(m.destination.to_model(namespace, report), m.share(report)) for m in self.mirrors]
        return tuple(m for m in found if m.share)
