"""`tcp` and `tls` routes of a VirtualService."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.destination import DestinationDoc, PortNumber
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import host_matches
from tidegate.model.routing import L4Match, L4Route, WeightedTarget


class L4WeightedDoc(ApiModel):
    destination: DestinationDoc
    weight: int = limits.WEIGHT.field(default=0)


class L4MatchDoc(ApiModel):
    ignored = frozenset({"sourceSubnet"})
    destination_subnets: list[str] = []
    port: PortNumber | None = None
    source_labels: dict[str, str] = Field(default_factory=dict)
    source_namespace: str = ""
    gateways: list[str] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "gateway" in data and "gateways" not in data:
            report.say(data, "gateway", say.READ_AS(new='"gateways"'))
            data.rename("gateway", "gateways")
        if "destinationSubnets" in data:
            why = "at a gateway every connection is for the gateway's own address"
            report.say(data, "destinationSubnets", say.NO_EFFECT(why=why))
        if "sourceSubnet" in data:
            report.say(data, "sourceSubnet", say.NO_EFFECT(why="Istio does not look at it either; use sourceLabels"))
        listify(data, "destinationSubnets", "gateways", "sniHosts")

    def to_model(self, report: Report, sni_hosts: Sequence[str] = ()) -> L4Match:
        for index, text in enumerate(self.destination_subnets):
            try:
                ip_network(text, strict=False)
            except ValueError:
                report.say(self, ("destinationSubnets", index), say.NO_ADDRESS(given=text))
        return L4Match(
            sni_hosts=tuple(sni_hosts),
            subnets=tuple(self.destination_subnets),
            port=self.port or 0,
            source_labels=self.source_labels,
            source_namespace=self.source_namespace,
            gateways=tuple(self.gateways),
            line=self.line,
        )


class TlsMatchDoc(L4MatchDoc):
    sni_hosts: list[str] = []


class TcpRouteDoc(ApiModel):
    match: list[L4MatchDoc] = []
    route: list[L4WeightedDoc] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "match", "route")

    def to_model(self, namespace: str, report: Report) -> L4Route:
        matches = tuple(m.to_model(report) for m in self.match)
        return L4Route(matches=matches, targets=targets(self, self.route, namespace, report), line=self.line)


class TlsRouteDoc(ApiModel):
    match: list[TlsMatchDoc] = []
    route: list[L4WeightedDoc] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "match", "route")

    def to_model(self, namespace: str, hosts: Sequence[str], report: Report) -> L4Route:
        """hosts: of the VirtualService, within which each name has to be."""
        if not self.match:
            report.say(self, None, say.NEEDS_ONE_OF(names="match"))
        matches = tuple(m.to_model(report, _names(m, hosts, report)) for m in self.match)
        return L4Route(matches=matches, targets=targets(self, self.route, namespace, report), line=self.line)


def _names(match: TlsMatchDoc, hosts: Sequence[str], report: Report) -> list[str]:
    if not match.sni_hosts:
        report.say(match, None, say.NEEDS_ONE_OF(names="sniHosts"))
    for index, name in enumerate(match.sni_hosts):
        if not is_host(name):
            report.say(match, ("sniHosts", index), say.NO_HOST(given=name))
        elif not any(host_matches(host, name.lower()) for host in hosts):
            report.say(match, ("sniHosts", index), say.SNI_OUTSIDE(name=name, hosts=", ".join(hosts)))
    return [name.lower() for name in match.sni_hosts]


def targets(at: ApiModel, route: Sequence[L4WeightedDoc], namespace: str, report: Report) -> tuple[WeightedTarget, ...]:
    """The destinations of a route of connections."""
    if not route:
        report.say(at, "route" if "route" in at.at else None, say.NO_DESTINATION())
    elif len(route) > 1 and not any(w.weight for w in route):
        report.say(at, "route", say.NO_WEIGHT())
    elif (total := sum(w.weight for w in route)) > limits.SUM_OF_WEIGHTS:
        report.say(at, "route", say.HEAVY(total=total, most=limits.SUM_OF_WEIGHTS))
    return tuple(WeightedTarget(w.destination.to_model(namespace, report), w.weight) for w in route)
