"""HTTPMatchRequest: which requests a route is for."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import quote

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.destination import PortNumber, old_gateway
from tidegate.config.shapes.string_match import StringMatchDoc, cookie_match, scalar_matches
from tidegate.config.tree import YamlMap
from tidegate.model.routing import HttpMatch, StringMatch

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_SAFE = "/%:@!$&'()*+,;=~"  # RFC 3986, 3.3, and what is escaped already
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_PSEUDO = frozenset({"uri", "scheme", "method", "authority"})


class MatchDoc(ApiModel):
    name: str = ""
    uri: StringMatchDoc | None = None
    ignore_uri_case: bool = False
    scheme: StringMatchDoc | None = None
    method: StringMatchDoc | None = None
    authority: StringMatchDoc | None = None
    headers: dict[str, StringMatchDoc] = {}
    without_headers: dict[str, StringMatchDoc] = {}
    query_params: dict[str, StringMatchDoc] = {}
    port: PortNumber | None = None
    source_labels: dict[str, str] = {}
    source_namespace: str = ""
    gateways: list[str] = []
    stat_prefix: str = ""

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_gateway(data, report)
        scalar_matches(data, "uri", "scheme", "method", "authority")
        for key in ("headers", "withoutHeaders", "queryParams"):
            members = data.get(key)
            if isinstance(members, YamlMap):
                for name in [n for n, v in members.items() if v is None]:
                    members.put(name, YamlMap((*members.path, name), members.lines[name]), members.lines[name])
                scalar_matches(members, *members)
        if isinstance(headers := data.get("headers"), YamlMap):
            cookie_match(headers, report)
            for name in _PSEUDO & set(headers):
                report.say(headers, name, say.PSEUDO_HEADER(name=name))
                del headers[name]

    def to_model(self, report: Report) -> HttpMatch:
        for name in (*self.headers, *self.without_headers):
            if name.startswith("@"):
                report.say(self, ("headers", name), say.TOKEN_CLAIM())
            elif not TOKEN.fullmatch(name.removeprefix(":")) or len(name) > limits.HEADER_BYTES:
                report.say(self, ("headers", name), say.NO_HEADER(name=name))
        for key, written in (("headers", self.headers), ("withoutHeaders", self.without_headers)):
            for name, count in Counter(n.lower() for n in written).items():
                if count > 1:
                    report.say(self, key, say.TWICE(what=f"header {name!r}"))
        for name in self.query_params:
            if not 1 <= len(name.encode()) <= limits.QUERY_NAME_BYTES:
                report.say(self, ("queryParams", name), say.PARAMETER_NAME(most=limits.QUERY_NAME_BYTES))
        self._tell_impossible(report)
        return HttpMatch(
            name=self.name,
            uri=self.uri.to_model(report, empty_prefix=True) if self.uri else None,
            ignore_uri_case=self.ignore_uri_case,
            scheme=self.scheme.to_model(report) if self.scheme else None,
            method=self.method.to_model(report) if self.method else None,
            authority=self.authority.to_model(report) if self.authority else None,
            headers=_conditions(self.headers, report),
            without_headers=_conditions(self.without_headers, report),
            query_params=_conditions(self.query_params, report, lower=False),
            port=self.port or 0,
            source_labels=self.source_labels,
            source_namespace=self.source_namespace,
            gateways=tuple(self.gateways),
            stat_prefix=self.stat_prefix,
            line=self.line,
        )

    def _tell_impossible(self, report: Report) -> None:
        """Conditions that can be written and that no request fulfils."""
        if self.uri is not None:
            for how in ("exact", "prefix"):
                path = getattr(self.uri, how)
                if path and (why := _no_path(path, whole=how == "exact")):
                    report.say(self.uri, how, say.NO_PATH(given=path, why=why))
        method = self.method.exact if self.method is not None else None
        if method and method not in _METHODS and method.upper() in _METHODS:
            report.say(self, ("method", "exact"), say.LOWER_METHOD(given=method, right=method.upper()))


def _no_path(path: str, *, whole: bool) -> str:
    """Why no path begins like this, or is this as a whole; empty if one may. Paths are compared without their query,
    and after `.` and `..` in them were followed."""
    segments = path.split("/")[: None if whole else -1]
    if not path.startswith("/"):
        return 'paths begin with "/"'
    if "?" in path:
        return "it is compared without what follows the ?; write queryParams"
    if "#" in path:
        return "what follows a # stays in the browser"
    if "." in segments or ".." in segments:
        return "it is compared after . and .. were followed"
    if not path.isascii() or not path.isprintable() or " " in path:
        return f"write it as clients send it, {quote(path, safe=_SAFE)!r}"
    return ""


def _conditions(
    members: dict[str, StringMatchDoc], report: Report, *, lower: bool = True
) -> tuple[tuple[str, StringMatch], ...]:
    out: dict[str, StringMatch] = {}
    for name, doc in members.items():
        match = doc.to_model(report, presence=True)
        if match is not None:
            out[name.lower() if lower else name] = match
    return tuple(sorted(out.items(), key=lambda item: item[0]))
