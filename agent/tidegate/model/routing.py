"""VirtualService after reading: hosts are full names, durations milliseconds, shares parts per million."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tidegate.model.exports import exported
from tidegate.model.kube import NO_AGE, Age
from tidegate.model.net import IPNetwork
from tidegate.model.origin import Origin

LONGEST_BODY = 1 << 20  # of a direct response: upstream refuses more, and who asks over xDS is told this much
MILLION = 1_000_000
MESH = "mesh"  # the gateway name that stands for every pod of the mesh


class Match(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"  # RE2, the whole text
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class StringMatch:
    how: Match
    value: str = ""


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """One block of `match`: every condition must hold. Names of headers are lower-case."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()  # sorted by name
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query_params: tuple[tuple[str, StringMatch], ...] = ()
    port: int = 0  # 0 = any
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    stat_prefix: str = ""
    line: int = 0

    @property
    def catches_all(self) -> bool:
        """Whether every request fits, of a client and at a port that it is for."""
        uri = self.uri
        any_path = (
            uri is None
            or (uri.how is Match.PREFIX and uri.value in ("", "/"))
            or (uri.how is Match.REGEX and uri.value == ".*")
        )
        conditions = (self.scheme, self.method, self.authority, self.headers, self.without_headers, self.query_params)
        return any_path and not any(conditions)

    @property
    def for_everybody(self) -> bool:
        """Whether it is for every client and port."""
        return not (self.port or self.source_labels or self.source_namespace or self.gateways)


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """Where to send: `destination` of the API."""

    host: str
    port: int = 0  # 0 = the service's only port, else the dialled port
    subset: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderOperations:
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


@dataclass(frozen=True, slots=True)
class WeightedTarget:
    target: RouteTarget
    weight: int = 0
    headers: Headers = Headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    uri: str | None = None
    prefix: str | None = None
    authority: str = ""
    scheme: str = ""
    port: int = 0
    port_from_request: bool = False
    code: int = 301


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    status: int
    body: str = ""
    body_bytes: str = ""  # base64; used instead of body if set


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    uri: str | None = None
    authority: str = ""
    regex: tuple[str, str] | None = None  # pattern, substitution (\1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRetry:
    attempts: int
    per_try_timeout_ms: int = 0
    retry_on: str = ""
    backoff_ms: int = 0
    retry_ignore_previous_hosts: bool = True  # a retry avoids hosts that were tried
    retry_remote_localities: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Shares are parts per million; 0 with a delay or status set means never, None as MeshConfig.compat says."""

    delay_ms: int = 0
    delay_share: int | None = 0
    abort_status: int = 0
    abort_grpc: int | None = None
    abort_share: int | None = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    target: RouteTarget
    share: int = MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int | None = None
    credentials: bool | None = None
    unmatched_preflights: str = "UNSPECIFIED"  # or FORWARD, IGNORE


class Delegate(NamedTuple):
    """The VirtualService whose routes stand in the place of a route."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of `http`: any of matches (none = everything), then what to do.

    Nothing that serves has a delegate: compile/delegates.py puts the delegate's routes there, which say by origin and
    index where they were written.
    """

    name: str = ""
    matches: tuple[HttpMatch, ...] = ()
    targets: tuple[WeightedTarget, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout_ms: int = 0  # 0 = none
    retries: HttpRetry | None = None  # None = the mesh default
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    headers: Headers = Headers()
    delegate: Delegate | None = None
    line: int = 0
    origin: Origin | None = None  # None: the VirtualService that it stands in
    index: int = -1  # in its own VirtualService, if that is another one; -1: where it stands


@dataclass(frozen=True, slots=True)
class L4Match:
    """One block of `match` of a `tcp` or `tls` route: every condition must hold."""

    sni_hosts: tuple[str, ...] = ()  # lower case, may start with "*"; tls only
    subnets: tuple[IPNetwork, ...] = ()  # of the dialled address
    port: int = 0  # 0 = any
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    line: int = 0

    @property
    def catches_all(self) -> bool:
        """Whether every connection fits, of a client and at a port that it is for."""
        return not (self.sni_hosts or self.subnets)

    @property
    def for_everybody(self) -> bool:
        """Whether it is for every client and port."""
        return not (self.port or self.source_labels or self.source_namespace or self.gateways)


@dataclass(frozen=True, slots=True)
class L4Route:
    """One entry of `tcp` or `tls`: any of matches (none = everything), then where to."""

    matches: tuple[L4Match, ...] = ()
    targets: tuple[WeightedTarget, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class VirtualService:
    namespace: str
    name: str
    hosts: tuple[str, ...] = ()  # full names in lower case, may start with "*"; none: others delegate to it
    gateways: tuple[str, ...] = (MESH,)
    http: tuple[HttpRoute, ...] = ()
    tcp: tuple[L4Route, ...] = ()  # of ports that are neither HTTP nor TLS
    tls: tuple[L4Route, ...] = ()  # of ports that are TLS
    export_to: tuple[str, ...] = ()  # none: as MeshConfig says
    age: Age = NO_AGE
    origin: Origin = Origin("VirtualService", "", "")

    @property
    def only_l4(self) -> bool:
        """Whether it is about connections only and says nothing of requests."""
        return bool(self.tcp or self.tls) and not self.http

    @property
    def id(self) -> Delegate:
        """As a route that delegates to it calls it."""
        return Delegate(self.namespace, self.name)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where it was written, and with the routes of those that it delegates to where the first of each was."""
        delegates: dict[tuple[str, str, str], Origin] = {}
        for route in self.http:
            if route.origin is not None:
                delegates.setdefault(route.origin.object, route.origin)
        return (self.origin, *delegates.values())

    def targets(self) -> Iterator[RouteTarget]:
        """Where its routes lead."""
        for route in self.http:
            yield from (w.target for w in route.targets)
            yield from (m.target for m in route.mirrors)
        for connections in (*self.tcp, *self.tls):
            yield from (w.target for w in connections.targets)

    def visible_from(self, namespace: str, default: tuple[str, ...] = ("*",)) -> bool:
        """Whether exportTo, or without one the mesh's default, lets clients of that namespace see it."""
        return exported(self.export_to or default, self.namespace, namespace)
