"""Parts of an HTTP route: match, destination, headers, redirect, rewrite, retries, fault, mirror, CORS."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tidegate.config.schema import ApiModel, Duration, PositiveDuration, Report, check_regex, listify, words
from tidegate.config.string_match import StringMatchDoc, cookie_match, scalar_matches
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import resolve_host
from tidegate.model.routing import (
    MILLION,
    Cors,
    DirectResponse,
    Fault,
    HeaderOperations,
    Headers,
    HttpMatch,
    Redirect,
    Retries,
    Rewrite,
    RouteTarget,
    StringMatch,
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PSEUDO = frozenset({"uri", "scheme", "method", "authority"})
# Names that Envoy's router knows: x-envoy-retry-on and x-envoy-retry-grpc-on.
RETRY_ON = words(
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream "
    "retriable-status-codes retriable-headers http3-post-connect-failure cancelled deadline-exceeded internal "
    "resource-exhausted unavailable"
)
GRPC_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
Regex = Annotated[str, BeforeValidator(lambda v: check_regex(v) if isinstance(v, str) else v)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


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
        if "gateway" in data and "gateways" not in data:
            report.warning(data, "gateway", 'read as "gateways"')
            data.rename("gateway", "gateways")
        listify(data, "gateways")
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
                report.warning(headers, name, f'is ignored here; write it as "{name}" of the match itself')
                del headers[name]

    def to_model(self, report: Report) -> HttpMatch:
        for name in (*self.headers, *self.without_headers):
            if name.startswith("@"):
                report.error(self, ("headers", name), "conditions on token claims are not supported yet")
            elif not _TOKEN.fullmatch(name.removeprefix(":")):
                report.error(self, ("headers", name), f"{name!r} is no header name")
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


def _conditions(
    members: dict[str, StringMatchDoc], report: Report, *, lower: bool = True
) -> tuple[tuple[str, StringMatch], ...]:
    out: dict[str, StringMatch] = {}
    for name, doc in members.items():
        match = doc.to_model(report, presence=True)
        if match is not None:
            out[name.lower() if lower else name] = match
    return tuple(sorted(out.items(), key=lambda item: item[0]))


class PortSelector(ApiModel):
    number: PortNumber

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "name" in data:
            report.error(data, "name", "ports are chosen by number today; write port.number")
            del data["name"]


class DestinationDoc(ApiModel):
    host: str
    subset: str = ""
    port: PortSelector | None = None

    def to_model(self, namespace: str, report: Report) -> RouteTarget:
        if not self.host or "*" in self.host:
            report.error(self, "host", f"{self.host!r} is no destination: one service must be named")
        port = self.port.number if self.port else 0
        return RouteTarget(resolve_host(self.host, namespace), port, self.subset, self.line)


class HeaderOperationsDoc(ApiModel):
    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: list[str] = []

    def to_model(self, report: Report) -> HeaderOperations:
        for key, names in (("set", [*self.set]), ("add", [*self.add]), ("remove", self.remove)):
            for name in names:
                pseudo = name.startswith(":") and name.lower() != ":authority"
                if pseudo or (key == "remove" and name.lower() in (":authority", "host")):
                    report.error(self, key, f"header {name!r} cannot be changed here")
                elif not _TOKEN.fullmatch(name.removeprefix(":")):
                    report.error(self, key, f"{name!r} is no header name")
        for key, values in (("set", self.set), ("add", self.add)):
            for name, value in values.items():
                if value.count("%") % 2:
                    report.error(self, (key, name), "a single % must be written %%")
        return HeaderOperations(tuple(sorted(self.set.items())), tuple(sorted(self.add.items())), tuple(self.remove))


class HeadersDoc(ApiModel):
    request: HeaderOperationsDoc = Field(default_factory=HeaderOperationsDoc)
    response: HeaderOperationsDoc = Field(default_factory=HeaderOperationsDoc)

    def to_model(self, report: Report) -> Headers:
        return Headers(self.request.to_model(report), self.response.to_model(report))


# Older spellings of header operations, where they go today, and which of them are maps.
_OLD_HEADERS = {
    "appendHeaders": ("request", "add"),
    "appendRequestHeaders": ("request", "add"),
    "appendResponseHeaders": ("response", "add"),
    "removeRequestHeaders": ("request", "remove"),
    "removeResponseHeaders": ("response", "remove"),
}


def old_header_fields(data: YamlMap, report: Report) -> None:
    """Move appendHeaders and its relatives into headers.{request,response}.{add,remove}."""
    for old, (side, operation) in _OLD_HEADERS.items():
        if old not in data:
            continue
        report.warning(data, old, f'read as "headers.{side}.{operation}"')
        line = data.lines[old]
        value = data.pop(old)
        place = data
        for key in ("headers", side):
            if not isinstance(place.get(key), YamlMap):
                place.put(key, YamlMap((*place.path, key), line), line)
            place = place[key]
        place.put(operation, value, line)


class RedirectDoc(ApiModel):
    uri: str | None = None
    prefix_rewrite: str | None = None
    authority: str = ""
    scheme: Literal["", "http", "https"] = ""
    port: PortNumber | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: int = 301

    def to_model(self, report: Report) -> Redirect:
        if self.uri is not None and self.prefix_rewrite is not None:
            report.error(self, "prefixRewrite", "uri and prefixRewrite exclude each other")
        if self.port and self.derive_port:
            report.error(self, "derivePort", "port and derivePort exclude each other")
        if not (self.uri is not None or self.prefix_rewrite is not None or self.authority or self.scheme or self.port):
            report.error(self, None, "needs one of uri, prefixRewrite, authority, scheme, port")
        if self.redirect_code not in (301, 302, 303, 307, 308):
            report.error(self, "redirectCode", f"{self.redirect_code} is none of 301, 302, 303, 307, 308")
        return Redirect(
            self.uri,
            self.prefix_rewrite,
            self.authority,
            self.scheme,
            self.port or 0,
            self.derive_port == "FROM_REQUEST_PORT",
            self.redirect_code,
        )


class Body(ApiModel):
    string: str | None = None
    bytes: str | None = None


class DirectResponseDoc(ApiModel):
    status: int = Field(ge=200, le=599)
    body: Body | None = None

    def to_model(self) -> DirectResponse:
        body = self.body
        return DirectResponse(self.status, (body and body.string) or "", (body and body.bytes) or "")


class RegexRewrite(ApiModel):
    match: Regex
    rewrite: str


class RewriteDoc(ApiModel):
    uri: str | None = None
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None

    def to_model(self, report: Report) -> Rewrite:
        if self.uri is not None and self.uri_regex_rewrite is not None:
            report.error(self, "uriRegexRewrite", "uri and uriRegexRewrite exclude each other")
        if self.uri is None and self.uri_regex_rewrite is None and not self.authority:
            report.error(self, None, "needs one of uri, uriRegexRewrite, authority")
        regex = self.uri_regex_rewrite
        return Rewrite(self.uri, self.authority, (regex.match, regex.rewrite) if regex else None)


class RetryDoc(ApiModel):
    attempts: int = Field(ge=0)
    per_try_timeout: PositiveDuration | None = None
    retry_on: str = ""
    retry_remote_localities: bool = False
    retry_ignore_previous_hosts: bool = True
    backoff: PositiveDuration | None = None

    def to_model(self, report: Report) -> Retries:
        if self.attempts == 0 and (self.per_try_timeout or self.retry_on or self.retry_remote_localities):
            report.error(self, "attempts", "0 switches retries off, so nothing else may be said about them")
        for word in filter(None, (w.strip() for w in self.retry_on.split(","))):
            if word not in RETRY_ON and not (word.isdigit() and 100 <= int(word) <= 599):
                report.error(self, "retryOn", f"{word!r} is no retry condition and no status code")
        return Retries(
            self.attempts,
            self.per_try_timeout or 0,
            self.retry_on,
            self.backoff or 0,
            self.retry_ignore_previous_hosts,
            self.retry_remote_localities,
        )


class Percentage(ApiModel):
    value: float = Field(default=0.0, ge=0, le=100)

    def share(self, report: Report) -> int:
        """Parts per million, cut off as upstream does."""
        if 0 < self.value < 0.0001:
            report.error(self, "value", "must be 0 or at least 0.0001")
        return int(round(self.value * 10_000, 6))


def old_percent(data: YamlMap, old: str, new: str, report: Report) -> None:
    """Read the integer field of Istio 1.0 as percentage.value."""
    if old not in data:
        return
    line = data.lines[old]
    value = data.pop(old)
    if new in data:
        report.warning(data, new, f'"{old}" is ignored because "{new}" is there')
        return
    percentage = YamlMap((*data.path, new), line)
    percentage.put("value", value, line)
    data.put(new, percentage, line)


class DelayDoc(ApiModel):
    fixed_delay: PositiveDuration
    percentage: Percentage | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_percent(data, "percent", "percentage", report)
        if "exponentialDelay" in data:
            report.error(data, "exponentialDelay", "is not supported; write fixedDelay")
            del data["exponentialDelay"]


class AbortDoc(ApiModel):
    http_status: int | None = Field(default=None, ge=200, le=599)
    grpc_status: str | None = None
    percentage: Percentage | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_percent(data, "percent", "percentage", report)
        if "http2Error" in data:
            report.error(data, "http2Error", "is not supported; write httpStatus or grpcStatus")
            del data["http2Error"]


class FaultDoc(ApiModel):
    delay: DelayDoc | None = None
    abort: AbortDoc | None = None

    def to_model(self, report: Report) -> Fault:
        if self.delay is None and self.abort is None:
            report.error(self, None, "needs delay or abort")
        for part in (self.delay, self.abort):
            if part is not None and part.percentage is None:
                report.warning(part, None, "without percentage no request is affected (Istio 1.0 meant all of them)")
        status, grpc = 0, None
        if self.abort:
            status = self.abort.http_status or 0
            if self.abort.grpc_status is not None:
                name = self.abort.grpc_status
                if status:
                    report.error(self.abort, "grpcStatus", "httpStatus and grpcStatus exclude each other")
                if name not in GRPC_STATUS:
                    report.error(self.abort, "grpcStatus", f"{name!r} is no gRPC status name such as UNAVAILABLE")
                else:
                    grpc = GRPC_STATUS.index(name)
            elif not status:
                report.warning(self.abort, None, "neither httpStatus nor grpcStatus: nothing is aborted")
        return Fault(
            self.delay.fixed_delay if self.delay else 0,
            self.delay.percentage.share(report) if self.delay and self.delay.percentage else 0,
            status,
            grpc,
            self.abort.percentage.share(report) if self.abort and self.abort.percentage else 0,
        )


class MirrorDoc(ApiModel):
    destination: DestinationDoc
    percentage: Percentage | None = None

    def share(self, report: Report) -> int:
        return MILLION if self.percentage is None else self.percentage.share(report)


class CorsDoc(ApiModel):
    allow_origins: list[StringMatchDoc] = []
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "allowOrigin", "allowOrigins")
        if "allowOrigin" in data:
            if "allowOrigins" in data:
                report.warning(data, "allowOrigin", 'is ignored because "allowOrigins" is there')
                del data["allowOrigin"]
            else:
                data.rename("allowOrigin", "allowOrigins")
        origins = data.get("allowOrigins")
        if isinstance(origins, list):
            for i, value in enumerate(origins):
                if isinstance(value, str):
                    match = YamlMap((*data.path, "allowOrigins", i), data.lines["allowOrigins"])
                    match.put("exact", value, match.line)
                    origins[i] = match

    def to_model(self, report: Report) -> Cors:
        if self.max_age is not None and self.max_age % 1000:
            report.error(self, "maxAge", "must be whole seconds")
        origins = [o.to_model(report) for o in self.allow_origins]
        return Cors(
            tuple(o for o in origins if o is not None),
            tuple(self.allow_methods),
            tuple(self.allow_headers),
            tuple(self.expose_headers),
            None if self.max_age is None else self.max_age // 1000,
            self.allow_credentials,
            self.unmatched_preflights != "IGNORE",
        )
