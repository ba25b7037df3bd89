"""Parts of an HTTP route that say what to do: headers, redirect, rewrite, retries, mirror, CORS."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from typing import Annotated, Literal

import re2
from pydantic import BeforeValidator, Field, field_validator

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Duration, PositiveDuration, Report, check_regex, listify, words
from tidegate.config.shapes.destination import DestinationDoc
from tidegate.config.shapes.envoy_text import OneLine, odd_authority, odd_target, unknown_field
from tidegate.config.shapes.http_fault import Percentage
from tidegate.config.shapes.http_match import TOKEN
from tidegate.config.shapes.string_match import StringMatchDoc
from tidegate.config.tree import YamlMap
from tidegate.model.routing import (
    LONGEST_BODY,
    MILLION,
    Cors,
    DirectResponse,
    HeaderOperations,
    Headers,
    HttpRetry,
    Redirect,
    Rewrite,
)

# Names that Envoy's router knows: x-envoy-retry-on and x-envoy-retry-grpc-on.
RETRY_ON = words(
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream "
    "retriable-status-codes retriable-headers http3-post-connect-failure cancelled deadline-exceeded internal "
    "resource-exhausted unavailable"
)
_CODE = limits.RETRIABLE_CODE
_GROUP = re.compile(r"(?<!\\)((?:\\\\)*)\\([0-9])")  # of a substitution: \1, but not \\1
_ESCAPE = re.compile(r"\\([^0-9]|$)")  # RE2 does nothing with the whole substitution then
_DOLLAR = re.compile(r"\$\{?([0-9])\}?")  # what others write for it
HOST = frozenset({"host", ":authority"})
_FRAMING = frozenset({"content-length", "transfer-encoding"})  # where a message ends: whoever writes it says so
Regex = Annotated[str, BeforeValidator(lambda v: check_regex(v) if isinstance(v, str) else v)]


class HeaderOperationsDoc(ApiModel):
    set: dict[str, OneLine] = {}
    add: dict[str, OneLine] = {}
    remove: list[str] = []

    def to_model(self, report: Report, *, protected: frozenset[str]) -> HeaderOperations:
        """protected: names that cannot be set or added here; those of HOST can never be removed."""
        for key, names in (("set", [*self.set]), ("add", [*self.add]), ("remove", self.remove)):
            for name in names:
                pseudo = name.startswith(":") and name.lower() != ":authority"
                if pseudo or name.lower() in (HOST if key == "remove" else protected | _FRAMING):
                    report.say(self, key, say.PROTECTED_HEADER(name=name))
                elif not TOKEN.fullmatch(name.removeprefix(":")) or len(name) > limits.HEADER_BYTES:
                    report.say(self, key, say.NO_HEADER(name=name))
        if (many := len(self.set) + len(self.add)) > limits.HEADERS_CHANGED:
            said = say.OUT_OF_BOUNDS(detail=f"{many} headers are changed, at most {limits.HEADERS_CHANGED}")
            report.say(self, None, said)
        for key, values in (("set", self.set), ("add", self.add)):
            for name, count in Counter(n.lower() for n in values).items():
                if count > 1:
                    report.say(self, key, say.TWICE(what=f"header {name!r}"))
            for name, value in values.items():
                if name.lower() in HOST and not value:
                    report.say(self, (key, name), say.NO_HOST(given=value))
                if (unknown := unknown_field(value)) is not None:
                    report.say(self, (key, name), say.UNKNOWN_OPERATOR(given=unknown))
        return HeaderOperations(
            set=tuple(sorted(self.set.items())), add=tuple(sorted(self.add.items())), remove=tuple(self.remove)
        )


class HeadersDoc(ApiModel):
    request: HeaderOperationsDoc = Field(default_factory=HeaderOperationsDoc)
    response: HeaderOperationsDoc = Field(default_factory=HeaderOperationsDoc)

    def to_model(self, report: Report) -> Headers:
        # Of a request the host is rewritten; a response has none.
        return Headers(
            self.request.to_model(report, protected=frozenset()), self.response.to_model(report, protected=HOST)
        )


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
        report.say(data, old, say.READ_AS(new=f'"headers.{side}.{operation}"'))
        line = data.lines[old]
        value = data.pop(old)
        place = data
        for key in ("headers", side):
            if not isinstance(place.get(key), YamlMap):
                place.put(key, YamlMap((*place.path, key), line), line)
            place = place[key]
        place.put(operation, value, line)


class RedirectDoc(ApiModel):
    uri: OneLine | None = None
    prefix_rewrite: OneLine | None = None
    authority: OneLine = ""
    scheme: Literal["", "http", "https"] = ""
    port: int | None = limits.REDIRECT_PORT.field(default=None)
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: int = 301

    def to_model(self, report: Report) -> Redirect:
        if self.uri is not None and self.prefix_rewrite is not None:
            report.say(self, "prefixRewrite", say.EXCLUSIVE(first="uri", second="prefixRewrite"))
        if self.port and self.derive_port:
            report.say(self, "derivePort", say.EXCLUSIVE(first="port", second="derivePort"))
        if not (self.uri is not None or self.prefix_rewrite is not None or self.authority or self.scheme or self.port):
            report.say(self, None, say.NEEDS_ONE_OF(names="uri, prefixRewrite, authority, scheme, port"))
        if self.redirect_code not in (301, 302, 303, 307, 308):
            report.say(self, "redirectCode", say.REDIRECT_CODE(given=self.redirect_code))
        for key, given in (("uri", self.uri), ("prefixRewrite", self.prefix_rewrite)):
            if given and (why := odd_target(given, fragment=True)):
                report.say(self, key, say.ODD_REWRITE(given=given, why=why))
        if self.authority and (why := odd_authority(self.authority)):
            report.say(self, "authority", say.ODD_REWRITE(given=self.authority, why=why))
        return Redirect(
            uri=self.uri,
            prefix=self.prefix_rewrite,
            authority=self.authority,
            scheme=self.scheme,
            port=self.port or 0,
            port_from_request=self.derive_port == "FROM_REQUEST_PORT",
            code=self.redirect_code,
        )


class Body(ApiModel):
    string: str | None = None
    bytes: str | None = None

    @field_validator("bytes")
    @classmethod
    def _base64(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
            except ValueError as e:
                raise say.Wrong(say.NO_BASE64(reason=e)) from e
        return value

    def check(self, report: Report) -> None:
        """That one of the two is there, and not more than Envoy is asked to keep for each rule."""
        if self.string is not None and self.bytes is not None:
            report.say(self, "bytes", say.EXCLUSIVE(first="string", second="bytes"))
        for key, length in (("string", len((self.string or "").encode())), ("bytes", len(self.bytes or "") * 3 // 4)):
            if length > LONGEST_BODY:
                report.say(self, key, say.OUT_OF_BOUNDS(detail=f"is longer than {LONGEST_BODY} bytes"))


class DirectResponseDoc(ApiModel):
    status: int = limits.DIRECT_STATUS.field()
    body: Body | None = None

    def to_model(self, report: Report) -> DirectResponse:
        body = self.body
        if body is not None:
            body.check(report)
            if self.status in limits.BODILESS and (body.string or body.bytes):
                report.say(self, "body", say.NO_CONTENT(status=self.status, what="the body"))
        return DirectResponse(
            status=self.status, body=(body and body.string) or "", body_bytes=(body and body.bytes) or ""
        )


class RegexRewrite(ApiModel):
    match: Regex
    rewrite: OneLine


def _odd_substitution(regex: RegexRewrite) -> str:
    """What Envoy takes and does not do as it looks: RE2 leaves a text as it is if a group is missing."""
    named = [int(number) for _, number in _GROUP.findall(regex.rewrite)]
    groups: int = re2.compile(regex.match).groups
    if (missing := max(named, default=0)) > groups:
        return f"the expression has {groups} groups and no \\{missing}, so nothing is rewritten"
    if found := _ESCAPE.search(regex.rewrite.replace("\\\\", "")):
        return f"{found[0]} is neither a group nor \\\\, so nothing is rewritten"
    if found := _DOLLAR.search(regex.rewrite):
        return f"{found[0]} is sent as it stands; write \\{found[1]} for a group"
    return ""


class RewriteDoc(ApiModel):
    uri: OneLine | None = None
    authority: OneLine = ""
    uri_regex_rewrite: RegexRewrite | None = None

    def to_model(self, report: Report) -> Rewrite:
        if self.uri is not None and self.uri_regex_rewrite is not None:
            report.say(self, "uriRegexRewrite", say.EXCLUSIVE(first="uri", second="uriRegexRewrite"))
        if self.uri is None and self.uri_regex_rewrite is None and not self.authority:
            report.say(self, None, say.NEEDS_ONE_OF(names="uri, uriRegexRewrite, authority"))
        regex = self.uri_regex_rewrite
        if regex is not None and not regex.match:
            report.say(regex, "match", say.EMPTY_MATCH())
        elif regex is not None and (why := _odd_substitution(regex) or odd_target(regex.rewrite)):
            report.say(regex, "rewrite", say.ODD_REWRITE(given=regex.rewrite, why=why))
        if self.uri and not self.uri.startswith("/"):
            report.say(self, "uri", say.ODD_REWRITE(given=self.uri, why='servers refuse a path without "/" in front'))
        elif self.uri and (why := odd_target(self.uri)):
            report.say(self, "uri", say.ODD_REWRITE(given=self.uri, why=why))
        if self.authority and (why := odd_authority(self.authority)):
            report.say(self, "authority", say.ODD_REWRITE(given=self.authority, why=why))
        return Rewrite(uri=self.uri, authority=self.authority, regex=(regex.match, regex.rewrite) if regex else None)


class RetryDoc(ApiModel):
    attempts: int = limits.ATTEMPTS.field()
    per_try_timeout: PositiveDuration | None = None
    retry_on: str = ""
    retry_remote_localities: bool = False
    retry_ignore_previous_hosts: bool = True
    backoff: PositiveDuration | None = None

    def to_model(self, report: Report) -> HttpRetry:
        if self.attempts == 0 and (self.per_try_timeout or self.retry_on or self.retry_remote_localities):
            report.say(self, "attempts", say.NO_ATTEMPTS())
        for word in filter(None, (w.strip() for w in self.retry_on.split(","))):
            if word not in RETRY_ON and not (
                word.isdecimal() and word.isascii() and _CODE.least <= int(word[:9]) <= _CODE.most
            ):
                report.say(self, "retryOn", say.RETRY_ON(word=word))
        return HttpRetry(
            attempts=self.attempts,
            per_try_timeout_ms=self.per_try_timeout or 0,
            retry_on=self.retry_on,
            backoff_ms=self.backoff or 0,
            retry_ignore_previous_hosts=self.retry_ignore_previous_hosts,
            retry_remote_localities=self.retry_remote_localities,
        )


class MirrorDoc(ApiModel):
    destination: DestinationDoc
    percentage: Percentage | None = None

    def share(self, report: Report) -> int:
        return MILLION if self.percentage is None else self.percentage.share(report)


class CorsDoc(ApiModel):
    allow_origins: list[StringMatchDoc] = []
    allow_methods: list[OneLine] = []
    allow_headers: list[OneLine] = []
    expose_headers: list[OneLine] = []
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "allowOrigin", "allowOrigins")
        if "allowOrigin" in data:
            if "allowOrigins" in data:
                report.say(data, "allowOrigin", say.IGNORED_BESIDE(old="allowOrigin", new="allowOrigins"))
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
            report.say(self, "maxAge", say.WHOLE_SECONDS())
        origins = [o.to_model(report) for o in self.allow_origins]
        return Cors(
            origins=tuple(o for o in origins if o is not None),
            methods=tuple(self.allow_methods),
            headers=tuple(self.allow_headers),
            expose=tuple(self.expose_headers),
            max_age_s=None if self.max_age is None else self.max_age // 1000,
            credentials=self.allow_credentials,
            unmatched_preflights=self.unmatched_preflights,
        )
