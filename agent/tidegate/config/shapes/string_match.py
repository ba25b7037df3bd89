"""StringMatch: exactly one of exact, prefix, regex."""

from __future__ import annotations

import re

from pydantic import field_validator

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, check_regex
from tidegate.config.tree import YamlMap
from tidegate.model.routing import Match, StringMatch

_KINDS = ("exact", "prefix", "regex")
_PRESENT = StringMatch(Match.PRESENT)


class StringMatchDoc(ApiModel):
    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "extract" in data and "exact" not in data:
            report.say(data, "extract", say.READ_AS(new='"exact"'))
            data.rename("extract", "exact")

    @field_validator("regex")
    @classmethod
    def _regex(cls, value: str | None) -> str | None:
        # A lone * means "present" where a header or parameter is compared; elsewhere to_model refuses it.
        return value if value is None or value == "*" else check_regex(value)

    def to_model(self, report: Report, *, presence: bool = False, empty_prefix: bool = False) -> StringMatch | None:
        """The condition. presence: nothing at all, or regex "*", means that the header or parameter is there."""
        given = [k for k in _KINDS if getattr(self, k) is not None]
        if not given and presence:
            return _PRESENT
        if len(given) != 1:
            report.say(self, None, say.ONE_MATCH())
            return None
        how, value = given[0], str(getattr(self, given[0]))
        if how == "regex" and value == "*":
            if presence:
                return _PRESENT
            report.say(self, how, say.LONE_STAR())
            return None
        if not value and how != "exact" and not (how == "prefix" and empty_prefix):
            report.say(self, how, say.EMPTY_MATCH())
            return None
        return StringMatch(Match(how), value)


def scalar_matches(data: YamlMap, *keys: str) -> None:
    """Read a bare text that stands where a StringMatch is meant as {exact: text}."""
    for key in keys:
        value = data.get(key)
        if isinstance(value, str):
            line = data.lines.get(key, data.line)
            match = YamlMap((*data.path, key), line)
            match.put("exact", value, line)
            data.put(key, match, line)


def cookie_match(headers: YamlMap, report: Report) -> None:
    """Read ``cookie: {user: dev-123}`` (an old form: name and value of one cookie) as an expression."""
    value = headers.get("cookie")
    if not isinstance(value, YamlMap) or len(value) != 1 or set(value) & {*_KINDS, "extract"}:
        return
    name, text = next(iter(value.items()))
    if not isinstance(text, str):
        return
    line = value.lines[name]
    match = YamlMap(value.path, line)
    # A cookie may stand anywhere in the header.
    match.put("regex", rf"(^|.*; ?){re.escape(name)}={re.escape(text)}(;.*)?$", line)
    report.say(headers, "cookie", say.READ_AS(new=f"regex {match['regex']!r}"))
    headers.put("cookie", match, headers.lines["cookie"])
