"""One tree -> a valid value, or what is wrong with it. The kinds know the messages; this module finds the kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tidegate.config import messages as say
from tidegate.config.kinds import KINDS, LATER, Kind
from tidegate.config.kinds.base import Place
from tidegate.config.schema import ApiModel, Finding, Report, suggestion
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.tree import Path, Tree, YamlList, YamlMap
from tidegate.model.mesh import NO_OBJECT, MeshObject
from tidegate.model.names import ObjectKey

_BY_VERSION = {(version, kind.name): kind for kind in KINDS.values() for version in kind.api_versions}
_NAME, _NAME_LENGTH = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"), 253
_BY_NAME = {kind.name: kind for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one tree says."""

    key: ObjectKey
    line: int
    findings: Sequence[Finding] = ()
    value: MeshObject | None = None  # None: not usable, or of no interest
    failed: bool = False

    @property
    def named(self) -> bool:
        """Whether it is known which object is meant."""
        return bool(self.key.kind and self.key.name) or (not self.failed and self.key is not NO_OBJECT)


def items(tree: Tree) -> Iterator[Tree]:
    """The members of a list, else the document itself.

    A list is a v1 List, which may hold others, or one of a kind (ServiceList), as the API server itself answers: its
    members need not say what they are.
    """
    value = tree.value
    kind = value.get("kind") if isinstance(value, YamlMap) else None
    members = value.get("items", value) if isinstance(value, YamlMap) else None
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(members, YamlList | None):
        yield tree
        return
    assert isinstance(value, YamlMap)
    if members is None:
        return
    for member, line in zip(members, members.lines, strict=True):
        if isinstance(member, YamlMap) and kind != "List":
            for key, text in (("apiVersion", value.get("apiVersion")), ("kind", kind.removesuffix("List"))):
                if key not in member and isinstance(text, str):
                    member.put(key, text, member.line)
        yield from items(Tree(line, member))


def read(tree: Tree, file: str, *, live: bool = False) -> Reading:
    """Read a document. file is what its source is called in origins; empty if it comes from no file.

    live: a cluster tells it. What fields Kubernetes' own kinds have is the cluster's business then: it may be newer.
    """
    value = tree.value
    if not isinstance(value, YamlMap):
        return Reading(NO_OBJECT, tree.line, [Finding(tree.line, "", say.NO_OBJECT())], failed=True)
    metadata = value.get("metadata")
    given = metadata if isinstance(metadata, YamlMap) else YamlMap((), value.line)
    report = _Forgiving(value) if live and not _is_istios(value) else Report(value)
    kind = _find_kind(value, report)
    key = _key(value, given, kind)
    if not key.name and (kind is not None or report.failed):
        line = value.lines.get("metadata", value.line)
        report.findings.append(Finding(line, "metadata.name", say.MISSING()))
    made: MeshObject | None = None
    if kind is not None:
        place = Place(key, file, value.line, _text(given.get("creationTimestamp")), live)
        made = _build(value, kind, place, report)
    failed = report.failed
    return Reading(key, value.line, report.findings, None if failed else made, failed)


class _Forgiving(Report):
    """Says nothing of fields that are not known."""

    def say(self, at: ApiModel | YamlMap | YamlList, key: str | int | Path | None, said: say.Said) -> None:
        if said.code != say.UNKNOWN_FIELD.code:
            super().say(at, key, said)


def _is_istios(value: YamlMap) -> bool:
    return _text(value.get("apiVersion")).rpartition("/")[0] in LATER


def _key(value: YamlMap, metadata: YamlMap, kind: Kind | None) -> ObjectKey:
    """Which object is meant. Of a kind that we know the group is its own: a wrong apiVersion makes no other object."""
    name, namespace = _text(metadata.get("name")), _text(metadata.get("namespace")) or "default"
    kind_name = _text(value.get("kind"))
    known = kind or _BY_NAME.get(kind_name)
    if known is not None:
        return known.key(namespace, name)
    return ObjectKey(_text(value.get("apiVersion")).rpartition("/")[0], kind_name, namespace, name)


def _build(value: YamlMap, kind: Kind, place: Place, report: Report) -> MeshObject | None:
    try:
        doc = kind.shape.model_validate(value, context=report)
    except ValidationError as e:
        for details in e.errors(include_url=False):
            if details["type"] != "missing" or details["loc"] not in report.misspelt:
                report.at_path(*_explain(details))
        return None
    metadata = getattr(doc, "metadata", None)
    if isinstance(metadata, Metadata):
        check_names(metadata, place.key, report)
    return kind.read(doc, place, report)


def check_names(metadata: Metadata, key: ObjectKey, report: Report) -> None:
    """Names become parts of names in Envoy and of lines for people, so they hold what Kubernetes lets them hold."""
    for member, name in (("name", key.name), ("namespace", key.namespace)):
        if name and not (len(name) <= _NAME_LENGTH and _NAME.fullmatch(name)):
            report.say(metadata, member, say.NO_NAME(name=name, most=_NAME_LENGTH))
    if key.name.lower() != key.name:
        report.say(metadata, "name", say.UPPER_CASE(name=key.name))


def _find_kind(value: YamlMap, report: Report) -> Kind | None:
    """How to read the document; None with a finding in the report when we do not."""
    version, name = value.get("apiVersion"), value.get("kind")
    if isinstance(version, str) and isinstance(name, str) and (kind := _BY_VERSION.get((version, name))) is not None:
        return kind
    for key, text in (("apiVersion", version), ("kind", name)):
        if not isinstance(text, str) or not text:
            report.findings.append(Finding(value.lines.get(key, value.line), key, say.NO_TYPE()))
    if report.failed:
        return None
    assert isinstance(version, str)
    assert isinstance(name, str)
    group = version.rpartition("/")[0]
    versions = sorted(v for v, k in _BY_VERSION if k == name)
    kinds_here = {k for v, k in _BY_VERSION if v.rpartition("/")[0] == group} | LATER.get(group, frozenset())
    if name in LATER.get(group, ()):
        report.say(value, "kind", say.UNSUPPORTED_KIND(kind=name))
    elif versions and group in {v.rpartition("/")[0] for v in versions}:
        said = say.UNKNOWN_VERSION(kind=name, version=repr(version), known=", ".join(versions))
        report.say(value, "apiVersion", said)
    elif group in LATER:
        said = say.UNKNOWN_KIND(group=group, kind=repr(name), suggestion=suggestion(name, kinds_here))
        report.say(value, "kind", said)
    elif versions:
        report.say(value, "apiVersion", say.WRONG_GROUP(kind=name, version=repr(version), right=repr(versions[0])))
    else:
        report.say(value, "kind", say.FOREIGN_KIND(kind=name, version=version))
    return None


_WANTED = {
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
}


def _explain(details: ErrorDetails) -> tuple[Path, say.Said]:
    """Path and message of a pydantic error, in words for somebody who writes YAML."""
    path: Path = tuple(p for p in details["loc"] if p not in ("int", "str", "[key]"))
    kind, given = details["type"], details.get("input")
    if kind == "missing":
        return path, say.MISSING()
    if kind == "string_type" and isinstance(given, (int, float)):
        return path, say.NOT_TEXT(given=str(given).lower())
    if kind == "value_error" and isinstance(error := details.get("ctx", {}).get("error"), say.Wrong):
        return path, error.said
    if kind == "literal_error":
        expected = str(details.get("ctx", {}).get("expected", ""))
        words = [w.strip("'") for w in expected.replace(" or ", ", ").split(", ")]
        known = ", ".join(w for w in words if w)
        return path, say.NOT_ONE_OF(given=repr(given), known=known, suggestion=suggestion(str(given), words))
    if (wanted := _WANTED.get(kind)) is not None:
        return path, say.WRONG_TYPE(wanted=wanted)
    return path, say.OUT_OF_BOUNDS(detail=details["msg"][0].lower() + details["msg"][1:])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
