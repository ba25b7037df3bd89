"""VirtualService (networking.istio.io v1alpha3, v1beta1 and v1 are one schema)."""

from __future__ import annotations

import re

from pydantic import Field

from tidegate.config.http_schema import (
    CorsDoc,
    DestinationDoc,
    DirectResponseDoc,
    FaultDoc,
    HeadersDoc,
    MatchDoc,
    MirrorDoc,
    Percentage,
    RedirectDoc,
    RetryDoc,
    RewriteDoc,
    old_header_fields,
    old_percent,
)
from tidegate.config.kube_schema import Metadata
from tidegate.config.schema import ApiModel, Duration, Report, listify
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import is_address, resolve_host
from tidegate.model.kube import Age
from tidegate.model.origin import Origin
from tidegate.model.routing import MESH, HttpRoute, Match, Mirror, VirtualService, WeightedTarget

_HOST = re.compile(r"(\*|(\*?[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?))(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*", re.IGNORECASE)


class WeightedDoc(ApiModel):
    destination: DestinationDoc
    weight: int = Field(default=0, ge=0)
    headers: HeadersDoc = Field(default_factory=HeadersDoc)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_header_fields(data, report)


class HttpRouteDoc(ApiModel):
    name: str = ""
    match: list[MatchDoc] = []
    route: list[WeightedDoc] = []
    redirect: RedirectDoc | None = None
    direct_response: DirectResponseDoc | None = None
    delegate: dict[str, str] | None = None
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
            report.warning(data, "match", "is a list; read as a list of one")
        listify(data, "match", "route")
        old_header_fields(data, report)
        old_percent(data, "mirrorPercent", "mirrorPercentage", report)
        if "websocketUpgrade" in data:
            report.warning(data, "websocketUpgrade", "has no effect: WebSocket upgrades always work")
            del data["websocketUpgrade"]

    def to_model(self, namespace: str, report: Report) -> HttpRoute | None:
        """The route, or None when it does nothing that we can do yet."""
        self._check_action(report)
        if self.delegate is not None:
            report.warning(self, "delegate", "is not supported yet, the route is ignored")
            return None
        redirect = self.redirect.to_model(report) if self.redirect else None
        matches = tuple(m.to_model(report) for m in self.match)
        if (
            redirect
            and redirect.prefix is not None
            and any(m.uri is not None and m.uri.how is not Match.PREFIX for m in matches)
        ):
            report.error(self, ("redirect", "prefixRewrite"), "needs prefix in every uri condition of the match")
        return HttpRoute(
            name=self.name,
            matches=matches,
            targets=tuple(
                WeightedTarget(w.destination.to_model(namespace, report), w.weight, w.headers.to_model(report))
                for w in self.route
            ),
            redirect=redirect,
            direct_response=self.direct_response.to_model() if self.direct_response else None,
            rewrite=self.rewrite.to_model(report) if self.rewrite else None,
            timeout_ms=self.timeout or 0,
            retries=self.retries.to_model(report) if self.retries else None,
            fault=self.fault.to_model(report) if self.fault else None,
            mirrors=self._mirrors(namespace, report),
            cors=self.cors_policy.to_model(report) if self.cors_policy else None,
            headers=self.headers.to_model(report),
            line=self.line,
        )

    def _check_action(self, report: Report) -> None:
        actions = [k for k in ("route", "redirect", "directResponse", "delegate") if k in self.at]
        if len(actions) != 1:
            what = " and ".join(actions) + " exclude each other" if actions else "no action"
            report.error(self, None, f"{what}: write exactly one of route, redirect, directResponse")
            return
        if actions[0] == "route":
            if not self.route:
                report.error(self, "route", "needs a destination")
            elif len(self.route) > 1 and not any(w.weight for w in self.route):
                report.error(self, "route", "with several destinations at least one weight must be above 0")
        elif actions[0] != "delegate":
            for key in ("fault", "rewrite"):
                if key in self.at:
                    report.error(self, key, f"cannot be combined with {actions[0]}")

    def _mirrors(self, namespace: str, report: Report) -> tuple[Mirror, ...]:
        if self.mirror is not None and self.mirrors:
            report.error(self, "mirrors", "mirror and mirrors exclude each other")
        if self.mirror is not None:
            share = Mirror(self.mirror.to_model(namespace, report)).share
            if self.mirror_percentage is not None:
                share = self.mirror_percentage.share(report)
            found = [Mirror(self.mirror.to_model(namespace, report), share)]
        else:
            found = [Mirror(m.destination.to_model(namespace, report), m.share(report)) for m in self.mirrors]
        return tuple(m for m in found if m.share)


class VirtualServiceSpec(ApiModel):
    unsupported = frozenset({"tcp", "tls"})

    hosts: list[str] = []
    gateways: list[str] = []
    http: list[HttpRouteDoc] = []
    export_to: list[str] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "hosts", "gateways", "http", "exportTo")
        if not any(k in data for k in ("http", "tcp", "tls")):
            report.error(data, None, "one of http, tls, tcp must be there")


class VirtualServiceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: VirtualServiceSpec

    def to_model(self, origin: Origin, age: Age, report: Report) -> VirtualService:
        spec, namespace = self.spec, self.metadata.namespace
        if not spec.hosts:
            report.warning(
                spec, None, "has no hosts, so it can only be delegated to, which is not supported yet: ignored"
            )
        on_mesh = not spec.gateways or MESH in spec.gateways
        hosts: list[str] = []
        for i, host in enumerate(spec.hosts):
            if not is_address(host) and not _HOST.fullmatch(host):
                report.error(spec, ("hosts", i), f"{host!r} is no host name")
            elif host == "*" and on_mesh:
                report.error(spec, ("hosts", i), '"*" is only for gateways: name the services')
            full = resolve_host(host, namespace)
            if full in hosts:
                report.error(spec, ("hosts", i), f"{host!r} appears twice")
            hosts.append(full)
        routes = [r.to_model(namespace, report) for r in spec.http]
        return VirtualService(
            namespace=namespace,
            name=self.metadata.name,
            hosts=tuple(hosts),
            gateways=tuple(spec.gateways) or (MESH,),
            http=tuple(r for r in routes if r is not None),
            export_to=export_to(spec, spec.export_to, report),
            age=age,
            origin=origin,
        )


def export_to(at: ApiModel, written: list[str], report: Report) -> tuple[str, ...]:
    """The exportTo list; empty means everybody."""
    if "~" in written:
        report.error(at, "exportTo", '"~" is not possible here')
    if "*" in written and len(written) > 1:
        report.error(at, "exportTo", '"*" must stand alone')
    return tuple(sorted(set(written))) or ("*",)
