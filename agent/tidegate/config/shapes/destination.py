"""Where traffic goes, and who may see a rule: what VirtualService and DestinationRule have in common."""

from __future__ import annotations

from typing import Annotated

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import LABEL, ApiModel, Report, listify
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import resolve_host
from tidegate.model.routing import RouteTarget

PortNumber = Annotated[int, limits.PORT.field()]


class PortSelector(ApiModel):
    number: PortNumber

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "name" in data:
            report.say(data, "name", say.PORT_BY_NAME())
            del data["name"]


class DestinationDoc(ApiModel):
    host: str
    subset: str = ""
    port: PortSelector | None = None

    def to_model(self, namespace: str, report: Report) -> RouteTarget:
        # A host of a ServiceEntry may have a wildcard, and is one service by that name.
        if self.host in ("", "*") or "*" in self.host[1:]:
            report.say(self, "host", say.ONE_SERVICE(host=self.host))
        elif not is_host(self.host):
            report.say(self, "host", say.NO_HOST(given=self.host))
        if self.subset and not LABEL.fullmatch(self.subset):
            report.say(self, "subset", say.NO_LABEL(name=self.subset, what="subset"))
        port = self.port.number if self.port else 0
        return RouteTarget(resolve_host(self.host, namespace), port, self.subset, self.line)


def check_weights(route: ApiModel, weights: list[int], report: Report) -> None:
    """Of the destinations in a route's list "route": there is one, some can be chosen, and Envoy can add them up."""
    if not weights:
        report.say(route, "route", say.NO_DESTINATION())
    elif len(weights) > 1 and not any(weights):
        report.say(route, "route", say.NO_WEIGHT())
    elif (total := sum(weights)) > limits.SUM_OF_WEIGHTS:
        report.say(route, "route", say.HEAVY(total=total, most=limits.SUM_OF_WEIGHTS))


def old_gateway(match: YamlMap, report: Report) -> None:
    """In a match block, "gateway" is how "gateways" was written once."""
    if "gateway" in match and "gateways" not in match:
        report.say(match, "gateway", say.READ_AS(new='"gateways"'))
        match.rename("gateway", "gateways")
    listify(match, "gateways")


def export_to(
    at: ApiModel, written: list[str], report: Report, *, key: str = "exportTo", nobody: bool = False
) -> tuple[str, ...]:
    """An exportTo list; empty if nothing is written: then the mesh's default holds. nobody: whether "~" is possible."""
    if "~" in written and not nobody:
        report.say(at, key, say.EXPORT_NOWHERE())
    if len(written) > 1 and {"*", "~"} & set(written):
        report.say(at, key, say.EXPORT_STAR())
    for i, name in enumerate(written):
        if name not in ("*", ".", "~") and not LABEL.fullmatch(name):
            report.say(at, (key, i), say.NO_LABEL(name=name, what="namespace"))
        elif name in written[:i]:
            report.say(at, (key, i), say.TWICE(what=repr(name)))
    return tuple(sorted(set(written)))
