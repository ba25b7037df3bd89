"""What every API model shares: findings with their lines, unknown fields with a suggestion, Go durations.

Rules of the upstream decoder: camelCase and snake_case names are both accepted, null means unset, numbers are not
text. A model says what it does with a field by declaring it, by naming it in `ignored` (no effect on a mesh) or in
`unsupported` (an effect that we do not have yet: a warning).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, cast

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel

from tidegate.config import messages as say
from tidegate.config.limits import LONGEST_MS, REGEX_PROGRAM
from tidegate.config.messages import Said
from tidegate.config.tree import Path, YamlList, YamlMap, format_path, line_of
from tidegate.model.mesh import Severity

_SNAKE = re.compile(r"_([a-z0-9])")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)")
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7}
_MAX_REGEX = 1024
_AT = " at"  # where a message keeps its mapping, beside its fields
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # DNS-1123 label


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables of names."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said about a field of a document."""

    line: int
    path: str  # spec.http[0].match
    said: Said


class Report:
    """Collects findings about one document."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.misspelt: set[Path] = set()  # fields that are there under a name that is nearly right

    @property
    def failed(self) -> bool:
        return any(finding.said.severity is Severity.ERROR for finding in self.findings)

    def say(self, at: ApiModel | YamlMap | YamlList, key: str | int | Path | None, said: Said) -> None:
        """Say something about a field (key of at; None = at itself)."""
        place = at.at if isinstance(at, ApiModel) else at
        below: Path = () if key is None else key if isinstance(key, tuple) else (key,)
        line = line_of(place, below) if below else place.line
        self.findings.append(Finding(line, format_path((*place.path, *below)), said))

    def at_path(self, path: Path, said: Said) -> None:
        """Say something about a path from the root of the document."""
        self.findings.append(Finding(line_of(self.root, path), format_path(path), said))


class ApiModel(BaseModel):
    """Base of every message of the Kubernetes and Istio APIs that we read."""

    # defer_build: of more than a hundred messages a node reads some ten, and making all of them ready would be a tenth
    # of its start. What is wrong with one shows in tests/unit/config/test_fields.py.
    model_config = ConfigDict(
        strict=True, extra="ignore", alias_generator=to_camel, validate_by_name=False, defer_build=True
    )

    ignored: ClassVar[frozenset[str]] = frozenset()
    unsupported: ClassVar[frozenset[str]] = frozenset()
    open_ended: ClassVar[bool] = False  # do not complain about unknown fields

    _known: ClassVar[frozenset[str]] = frozenset()  # names that a document may use
    _plain: ClassVar[frozenset[str]] = frozenset()  # those of them about which nothing has to be said or done

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls._plain = frozenset(f.alias or name for name, f in cls.model_fields.items()) | cls.ignored
        cls._known = cls._plain | cls.unsupported

    @property
    def at(self) -> YamlMap:
        """Where this message was written."""
        return cast(YamlMap, self.__dict__[_AT])

    @property
    def line(self) -> int:
        return self.at.line

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        """Bring older spellings into today's form. Override; data is ours to change."""

    @model_validator(mode="wrap")
    @classmethod
    def _locate(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(data, YamlMap):
            if not cls._plain.issuperset(data) or None in data.values():
                cls._tidy(data)
            cls.normalise(data, cast(Report, info.context))
            if not cls._plain.issuperset(data):
                cls._complain(data, cast(Report, info.context))
            made = handler(data)
        else:
            made = handler(data)  # raises unless data is a mapping
            data = YamlMap()
        made.__dict__[_AT] = data  # a private attribute of pydantic would cost as much as reading the message
        return made

    @classmethod
    def _tidy(cls, data: YamlMap) -> None:
        """Leave out what is unset, bring snake_case into camelCase."""
        for key in [k for k, v in data.items() if v is None]:
            del data[key]
        for key in [k for k in data if k not in cls._known and "_" in k]:
            camel = _SNAKE.sub(lambda m: m.group(1).upper(), key)
            if camel not in data:
                data.rename(key, camel)

    @classmethod
    def _complain(cls, data: YamlMap, report: Report) -> None:
        """Say what is unknown or has no effect, and leave it out."""
        known = cls._known
        for key in list(data):
            if key in cls.unsupported:
                report.say(data, key, say.UNSUPPORTED_FIELD())
            elif key not in known and not cls.open_ended:
                near = nearest(key, known)
                report.say(data, key, say.UNKNOWN_FIELD(suggestion=suggestion(key, known)))
                report.misspelt.add((*data.path, near))
            else:
                continue
            del data[key]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` when something like the word is known, else nothing."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like the given one; empty if none does."""
    by_lower = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def parse_duration(text: Any) -> int:
    """Milliseconds of a Go duration such as 1m30s or 1.5s; also days. Raises ValueError."""
    if text == 0 and not isinstance(text, bool):
        return 0
    if not isinstance(text, str):
        raise say.Wrong(say.NO_DURATION(given=text))
    if text == "0":
        return 0
    sum_ms, end = 0.0, 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        sum_ms += float(part[1]) * _MILLISECONDS[part[2]]
        end = part.end()
    if end != len(text) or not text:
        raise say.Wrong(say.NO_DURATION(given=repr(text)))
    if sum_ms > LONGEST_MS:
        raise say.Wrong(say.TOO_LONG_DURATION(given=f"{text[:20]!r}..." if len(text) > 20 else repr(text)))
    if sum_ms > 0 and (sum_ms < 1 or abs(sum_ms - round(sum_ms)) > 1e-6):
        raise say.Wrong(say.FINE_DURATION(given=text))
    return round(sum_ms)


def positive_duration(text: Any) -> int:
    """As parse_duration, but not zero."""
    value = parse_duration(text)
    if value < 1:
        raise say.Wrong(say.ZERO_DURATION(given=text))
    return value


def check_regex(text: str) -> str:
    """Return the expression if Envoy can use it. Raises ValueError."""
    if len(text) > _MAX_REGEX:
        raise say.Wrong(say.LONG_REGEX(most=_MAX_REGEX))
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(text, options).programsize
    except re2.error as e:
        reason = e.args[0].decode() if isinstance(e.args[0], bytes) else str(e.args[0])
        raise say.Wrong(say.NO_REGEX(given=text, reason=reason)) from e
    if size > REGEX_PROGRAM:
        raise say.Wrong(say.BIG_REGEX(given=text, size=size, most=REGEX_PROGRAM))
    return text


def listify(data: YamlMap, *keys: str) -> None:
    """Make a list of a single value that stands where a list is meant."""
    for key in keys:
        value = data.get(key)
        if value is None or isinstance(value, YamlList):
            continue
        line = data.lines.get(key, data.line)
        items = YamlList((*data.path, key), line)
        items.put(value, line)
        data.put(key, items, line)


Duration = Annotated[int, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[int, BeforeValidator(positive_duration)]
