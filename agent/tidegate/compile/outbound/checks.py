"""Each VirtualService in a route configuration that serves nobody, so that Envoy can say what is wrong with it alone.

For pods as for gateways (compile/gateway/shown.py): what Envoy thinks of a rule does not depend on who asks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tidegate.compile.envoy import private
from tidegate.compile.envoy.http_action import fill_action
from tidegate.compile.envoy.http_match import route_match
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.outbound.routes import body_limit, route_name
from tidegate.compile.rules import Candidate
from tidegate.model.plan.envoy import REFUSED, EnvoyResource
from tidegate.model.routing import HttpRoute, RouteTarget, VirtualService, WeightedTarget


def check_name(vs: VirtualService) -> str:
    """Name of the resource that shows a VirtualService to Envoy; no service port is called so."""
    return f"check|{vs.namespace}/{vs.name}"


def check(vs: VirtualService, suffix: str = "") -> EnvoyResource:
    """All routes of a VirtualService, whoever they are for, for Envoy to judge. They lead nowhere."""
    routes = []
    for index, route in enumerate(vs.http):
        shown = _alone(route)
        for place, match in enumerate(route.matches or (None,)):
            made: Json = {"name": route_name(vs, Candidate(index, route, place, match)), "match": route_match(match)}
            fill_action(made, shown, 80, lambda _: private.NOWHERE, lambda _: None)
            routes.append(made)
    name = check_name(vs) + suffix
    host = {"name": name, "domains": ["*"], "routes": routes}
    body = {"name": name, "virtual_hosts": [host], "validate_clusters": False, **body_limit([vs])}
    return EnvoyResource(name, body, (vs.origin,), judged=vs)


def _alone(route: HttpRoute) -> HttpRoute:
    """A route as it can stand without anybody else: what one that delegates says holds beside the delegate's."""
    if route.delegate is None:
        return route
    return replace(route, targets=(WeightedTarget(RouteTarget(private.NOWHERE)),))


def checks(
    written: Iterable[VirtualService], refused: Iterable[VirtualService], before: Mapping[str, EnvoyResource]
) -> dict[str, EnvoyResource]:
    """Each of these rules by itself: who delegates and whom it delegates to are judged apart. refused: rules that Envoy
    refused, which are in force nowhere and are named as long as they are there. before: of what is the same rule still
    the same resource is shown, which was judged already."""
    made: dict[str, EnvoyResource] = {}
    for suffix, group in (("", written), (REFUSED, refused)):
        for vs in group:
            name = check_name(vs) + suffix
            known = before.get(name)
            made[name] = known if known is not None and known.judged is vs else check(vs, suffix)
    return made
