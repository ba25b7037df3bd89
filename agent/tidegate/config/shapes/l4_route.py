"""TCPRoute and TLSRoute: where connections go whose content nobody looks at."""

from __future__ import annotations

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.destination import DestinationDoc, PortNumber, check_weights, old_gateway
from tidegate.config.shapes.envoy_text import is_host, is_partial
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import is_address
from tidegate.model.net import IPNetwork, parse_network
from tidegate.model.routing import L4Match, L4Route, WeightedTarget


class L4MatchDoc(ApiModel):
    """What L4MatchAttributes and TLSMatchAttributes have in common, and the former has nothing else."""

    ignored = frozenset({"sourceSubnet"})
    destination_subnets: list[str] = []
    port: PortNumber | None = None
    source_labels: dict[str, str] = {}
    source_namespace: str = ""
    gateways: list[str] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_gateway(data, report)
        if "sourceSubnet" in data:
            report.say(data, "sourceSubnet", say.NO_EFFECT(why="upstream ignores it too; write sourceLabels"))
        listify(data, "destinationSubnets", "sniHosts")

    def to_model(self, hosts: list[str], report: Report) -> L4Match:
        """hosts: of the VirtualService, as full names."""
        return L4Match(
            sni_hosts=self.names(hosts, report),
            subnets=self._subnets(report),
            port=self.port or 0,
            source_labels=self.source_labels,
            source_namespace=self.source_namespace,
            gateways=tuple(self.gateways),
            line=self.line,
        )

    def names(self, hosts: list[str], report: Report) -> tuple[str, ...]:
        return ()

    def _subnets(self, report: Report) -> tuple[IPNetwork, ...]:
        found = []
        for index, text in enumerate(self.destination_subnets):
            try:
                found.append(parse_network(text))
            except ValueError:
                report.say(self, ("destinationSubnets", index), say.NO_SUBNET(given=text))
        return tuple(dict.fromkeys(found))


class TlsMatchDoc(L4MatchDoc):
    sni_hosts: list[str] = []

    def names(self, hosts: list[str], report: Report) -> tuple[str, ...]:
        if not self.sni_hosts:
            report.say(self, "sniHosts", say.NO_SNI_HOSTS())
        found = []
        for index, written in enumerate(self.sni_hosts):
            name = written.lower().removesuffix(".")
            at = ("sniHosts", index)
            if not is_host(written) or len(name) > limits.HOST_BYTES:
                report.say(self, at, say.NO_HOST(given=written))
            elif is_partial(written):
                report.say(self, at, say.PARTIAL_SNI(given=written))
            elif is_address(written):
                report.say(self, at, say.SNI_ADDRESS(given=written))
            elif not any(_covers(host, name) for host in hosts):
                report.say(self, at, say.SNI_OF_OTHERS(name=written, hosts=", ".join(hosts)))
            found.append(name)
        return tuple(dict.fromkeys(found))


class RouteDestinationDoc(ApiModel):
    destination: DestinationDoc
    weight: int = limits.WEIGHT.field(default=0)


class L4RouteDoc(ApiModel):
    route: list[RouteDestinationDoc] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if isinstance(data.get("match"), YamlMap):
            report.say(data, "match", say.LIST_OF_ONE())
        listify(data, "match", "route")

    def routed(self, matches: list[L4Match], namespace: str, report: Report) -> L4Route:
        check_weights(self, [w.weight for w in self.route], report)
        targets = (WeightedTarget(w.destination.to_model(namespace, report), w.weight) for w in self.route)
        return L4Route(tuple(matches), tuple(targets), self.line)


class TcpRouteDoc(L4RouteDoc):
    match: list[L4MatchDoc] = []

    def to_model(self, hosts: list[str], namespace: str, report: Report) -> L4Route:
        return self.routed([m.to_model(hosts, report) for m in self.match], namespace, report)


class TlsRouteDoc(L4RouteDoc):
    match: list[TlsMatchDoc] = []

    def to_model(self, hosts: list[str], namespace: str, report: Report) -> L4Route:
        if not self.match:
            report.say(self, "match", say.NO_TLS_MATCH())
        return self.routed([m.to_model(hosts, report) for m in self.match], namespace, report)


def _covers(host: str, name: str) -> bool:
    """Whether every name that the second one means is one of the first."""
    if host.startswith("*"):
        return name.removeprefix("*").endswith(host[1:]) and len(name) >= len(host)
    return host == name
