"""A match block -> envoy.config.route.v3.RouteMatch."""

from __future__ import annotations

import re

from tidegate.compile.envoy.protojson import Json, string_matcher
from tidegate.model.routing import HttpMatch, Match, StringMatch


def route_match(match: HttpMatch | None) -> Json:
    """The conditions that Envoy checks; source, port and gateway were decided before."""
    if match is None:
        return {"prefix": "/"}
    out = _path(match.uri)
    if match.ignore_uri_case and match.uri is not None and match.uri.how is not Match.REGEX:
        out["case_sensitive"] = False
    headers = [_header(name, condition) for name, condition in match.headers]
    headers += [_without(name, condition) for name, condition in match.without_headers]
    for name, pseudo in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if pseudo is not None:
            headers.append(_header(name, pseudo))
    if headers:
        out["headers"] = headers
    if match.query_params:
        out["query_parameters"] = [_compared(name, condition) for name, condition in match.query_params]
    return out


def tunnelled(match: HttpMatch | None) -> Json | None:
    """The same conditions for CONNECT, which has no path, and in Envoy fits a route only if that says so; None where a
    condition looks at the path."""
    if match is not None and (match.uri is not None or match.query_params):
        return None
    return {"connect_matcher": {}, **{k: v for k, v in route_match(match).items() if k == "headers"}}


def authority_match(pattern: str) -> Json:
    """A HeaderMatcher for the hosts of a wildcard (``*.example.com``), with any port or none."""
    regex = f"(?i).+{re.escape(pattern.removeprefix('*'))}(:[0-9]+)?"
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}}


def _path(uri: StringMatch | None) -> Json:
    if uri is None:
        return {"prefix": "/"}
    if uri.how is Match.EXACT:
        return {"path": uri.value}
    if uri.how is Match.PREFIX:
        return {"prefix": uri.value}
    return {"safe_regex": {"regex": uri.value}}


def _compared(name: str, condition: StringMatch) -> Json:
    if condition.how is Match.PRESENT:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_matcher(condition)}


def _header(name: str, condition: StringMatch) -> Json:
    return _compared(name, condition)


def _without(name: str, condition: StringMatch) -> Json:
    out = {**_compared(name, condition), "invert_match": True}
    if condition.how is not Match.PRESENT:
        # Envoy inverts only what it compared: an absent header has to count as an empty one.
        out["treat_missing_header_as_empty"] = True
    return out
