"""Which route a request takes, decided here as Envoy would decide it: the second opinion behind `explain` and tests.

It works on the model, not on Envoy's resources, so that a mistake in the emitter shows as a disagreement with the
real Envoy (tests/vectors/http_match).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import re2

from tidegate.compile.rules import Candidate, candidates
from tidegate.compile.visibility import Source
from tidegate.model.http import HttpRequest
from tidegate.model.routing import HttpMatch, Match, StringMatch, VirtualService

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r"(?<=/)(\.{1,2});[^/]*")  # of a dot segment
_UNSAFE = re.compile(r"""["<>\\^`{|}]""")


@dataclass(frozen=True, slots=True)
class Tried:
    """One match block that was looked at. refusal: why it does not fit; empty = it does."""

    candidate: Candidate
    refusal: str


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """tried ends with the block that fits, if one does. reachable: any route exists for this client and port."""

    chosen: Candidate | None
    tried: tuple[Tried, ...]
    reachable: bool


def choose_route(vs: VirtualService, source: Source, port: int, request: HttpRequest) -> RouteChoice:
    """The first route that fits. A VirtualService without any reachable route leaves the service alone; one whose
    routes all refuse the request makes Envoy answer 404."""
    tried: list[Tried] = []
    for candidate in candidates(vs, source, port):
        refusal = refuses(candidate.match, request)
        tried.append(Tried(candidate, refusal))
        if not refusal:
            return RouteChoice(candidate, tuple(tried), True)
    return RouteChoice(None, tuple(tried), bool(tried))


def choose_host(hosts: Iterable[str], authority: str) -> str | None:
    """The virtual host of an authority: exact name, else the longest wildcard; None = the dialled service."""
    name = host_of(authority)
    known = set(hosts)
    if name in known:
        return name
    fits = [h for h in known if h.startswith("*") and name.endswith(h[1:]) and len(name) > len(h) - 1]
    return max(fits, key=len, default=None)


def host_of(authority: str) -> str:
    """The host of an authority in lower case, without port and brackets."""
    text = authority.lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def refuses(match: HttpMatch | None, request: HttpRequest) -> str:
    """Why the request does not fit a match block; empty if it does."""
    if match is None:
        return ""
    path, _, query = request.path.partition("#")[0].partition("?")
    path = normal_path(path)
    if match.uri is not None and not _path_fits(match.uri, path, match.ignore_uri_case):
        return f"path {path} {_unlike(match.uri)}"
    headers = {name.lower(): value for name, value in request.headers.items()}
    for name, condition in match.headers:
        value = headers.get(name)
        if value is None or not fits(condition, value):
            return _refused("header", name, value, condition)
    for name, condition in match.without_headers:
        value = headers.get(name)
        # Envoy compares an absent header as an empty one here, except when presence itself is the question.
        if value is not None if condition.how is Match.PRESENT else fits(condition, value or ""):
            return f"header {name} {_like(condition)}"
    for name, pseudo, given in (
        ("method", match.method, request.method),
        ("authority", match.authority, request.authority),
        ("scheme", match.scheme, request.scheme),
    ):
        if pseudo is not None and not fits(pseudo, given):
            return _refused("", name, given, pseudo)
    return _query_refusal(match, query)


def _query_refusal(match: HttpMatch, query: str) -> str:
    parameters: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, _, text = part.partition("=")
        parameters.setdefault(key, text)  # of a repeated parameter Envoy looks at the first
    for name, condition in match.query_params:
        value = parameters.get(name)
        if value is None or not fits(condition, value):
            return _refused("query parameter", name, value, condition)
    return ""


def fits(condition: StringMatch, value: str) -> bool:
    """Whether a present value satisfies a condition."""
    if condition.how is Match.PRESENT:
        return True
    if condition.how is Match.EXACT:
        return value == condition.value
    if condition.how is Match.PREFIX:
        return value.startswith(condition.value)
    return re2.fullmatch(condition.value, value) is not None


def bad_path(path: str) -> bool:
    """Whether Envoy answers 400 whatever the rules say: for NUL, even escaped, and for what has to be escaped."""
    path = path.partition("#")[0].partition("?")[0]
    return "%00" in _PARAMETER.sub(r"\1", path) or any(not "!" <= character <= "~" for character in path)


def normal_path(path: str) -> str:
    """As normalize_path of the connection manager leaves it: escapes of unreserved characters undone, what no URL may
    hold escaped, backslashes turned, dot segments removed (RFC 3986 5.2.4), also those with a parameter ("..;a").

    A dot that stands escaped and has a parameter is none to Envoy. tests/unit/compile/test_paths_against_envoy.py
    compares this with the real one on paths made by chance.
    """
    if path.startswith(("http://", "https://")):
        path = urlsplit(path).path or "/"
    path = _ESCAPE.sub(_unescape, _PARAMETER.sub(r"\1", path).replace("\\", "/"))
    path = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", path)
    if "/." not in path:
        return path
    segments = path.split("/")[1:]
    out: list[str] = []
    for segment in segments:
        if segment == "..":
            del out[-1:]
        elif segment != ".":
            out.append(segment)
    if segments[-1] in (".", ".."):
        out.append("")
    return "/" + "/".join(out)


def _unescape(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character.isascii() and (character.isalnum() or character in "-._~") else escape[0]


def _path_fits(condition: StringMatch, path: str, ignore_case: bool) -> bool:
    if ignore_case and condition.how is not Match.REGEX:
        return fits(StringMatch(condition.how, condition.value.lower()), path.lower())
    return fits(condition, path)


def _refused(what: str, name: str, value: str | None, condition: StringMatch) -> str:
    subject = f"{what} {name}".strip()
    return f"{subject} is absent" if value is None else f"{subject} {value!r} {_unlike(condition)}"


def _unlike(condition: StringMatch) -> str:
    return {
        Match.EXACT: f"is not {condition.value!r}",
        Match.PREFIX: f"does not start with {condition.value!r}",
        Match.REGEX: f"does not match {condition.value!r}",
        Match.PRESENT: "is absent",
    }[condition.how]


def _like(condition: StringMatch) -> str:
    return {
        Match.EXACT: f"is {condition.value!r}",
        Match.PREFIX: f"starts with {condition.value!r}",
        Match.REGEX: f"matches {condition.value!r}",
        Match.PRESENT: "is there",
    }[condition.how]
