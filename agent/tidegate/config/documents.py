"""One file's text -> model objects and problems. A bad document never hides the others.

Neighbours: yaml_tree cuts and parses, the *_schema modules know the messages, files feeds this module, store merges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tidegate.config.destination_rule import DestinationRuleDoc
from tidegate.config.kube_schema import AnyDoc, DeploymentDoc, Metadata, NamespaceDoc, PodDoc, ServiceDoc
from tidegate.config.schema import ApiModel, Report, suggestion, words
from tidegate.config.virtual_service import VirtualServiceDoc
from tidegate.config.yaml_tree import Path, Tree, YamlList, YamlMap, read_trees
from tidegate.model.kube import Age, Namespace, Pod, PodTemplate, Service
from tidegate.model.mesh import Problem, Severity
from tidegate.model.origin import Origin
from tidegate.model.routing import VirtualService
from tidegate.model.traffic import DestinationRule

MeshObject = Namespace | Pod | PodTemplate | Service | VirtualService | DestinationRule
Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class Document:
    """One object as written: its key, its value (None = not usable or of no interest) and where it starts."""

    key: Key
    value: MeshObject | None
    line: int
    failed: bool  # it has errors, so an earlier version of it stays in force


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says. unreadable: some document could not be told apart, so absence of an object means nothing."""

    path: str  # as reported to the user
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    unreadable: bool = False
    text: str = field(default="", repr=False, compare=False)  # as read; kept over a restart if good

    @property
    def is_good(self) -> bool:
        """Whether nothing in it is an error."""
        return not self.unreadable and not any(problem.is_error for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Place:
    origin: Origin
    age: Age
    report: Report


@dataclass(frozen=True, slots=True)
class _Kind:
    model: type[ApiModel]
    convert: Callable[[Any, _Place], MeshObject | None]
    namespaced: bool = True


_ISTIO_VERSIONS = ("networking.istio.io/v1alpha3", "networking.istio.io/v1beta1", "networking.istio.io/v1")
_NOTHING = _Kind(AnyDoc, lambda _doc, _place: None)
_ROUTING = {
    "VirtualService": _Kind(VirtualServiceDoc, lambda d, p: d.to_model(p.origin, p.age, p.report)),
    "DestinationRule": _Kind(DestinationRuleDoc, lambda d, p: d.to_model(p.origin, p.age, p.report)),
}
_KINDS: dict[tuple[str, str], _Kind] = {
    ("v1", "Namespace"): _Kind(NamespaceDoc, lambda d, p: d.to_model(p.origin), namespaced=False),
    ("v1", "Pod"): _Kind(PodDoc, lambda d, p: d.to_model(p.origin, p.report)),
    ("v1", "Service"): _Kind(ServiceDoc, lambda d, p: d.to_model(p.origin, p.age, p.report)),
    ("v1", "ServiceAccount"): _NOTHING,
    ("v1", "ConfigMap"): _NOTHING,
    ("v1", "Secret"): _NOTHING,
    ("apps/v1", "Deployment"): _Kind(DeploymentDoc, lambda d, p: d.to_model(p.origin, p.report)),
    **{(version, kind): how for version in _ISTIO_VERSIONS for kind, how in _ROUTING.items()},
}
# Kinds of the Istio API that do nothing here yet, by API group.
_LATER: dict[str, frozenset[str]] = {
    "networking.istio.io": words("Gateway ServiceEntry Sidecar EnvoyFilter WorkloadEntry WorkloadGroup ProxyConfig"),
    "security.istio.io": words("AuthorizationPolicy PeerAuthentication RequestAuthentication"),
    "telemetry.istio.io": frozenset({"Telemetry"}),
    "extensions.istio.io": frozenset({"WasmPlugin"}),
}


def parse_text(text: str, path: str, created: str = "") -> ParsedFile:
    """Read every document of a file. path is how the file is called in problems and origins.

    created (RFC 3339) stands in for a missing creationTimestamp.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    unreadable = False
    for tree in read_trees(text):
        if tree.problem is not None:
            unreadable = True
            problems.append(_nameless(path, tree.problem.line, tree.problem.message))
            continue
        for item in _items(tree):
            document, found = _read(item, path, created)
            problems.extend(found)
            if document is None:
                unreadable = True
            else:
                documents.append(document)
    return ParsedFile(path, tuple(documents), tuple(problems), unreadable, text)


def _items(tree: Tree) -> Iterator[Tree]:
    """The members of a v1 List, else the document itself."""
    value = tree.value
    if isinstance(value, YamlMap) and value.get("kind") == "List" and isinstance(value.get("items"), YamlList):
        items = value["items"]
        for item, line in zip(items, items.lines, strict=True):
            yield Tree(line, item)
        return
    yield tree


def _read(tree: Tree, path: str, created: str) -> tuple[Document | None, list[Problem]]:
    value = tree.value
    if not isinstance(value, YamlMap):
        message = "is no object: it needs apiVersion, kind and metadata"
        return None, [_nameless(path, tree.line, message)]
    metadata = value.get("metadata")
    given = metadata if isinstance(metadata, YamlMap) else YamlMap((), value.line)
    kind = _text(value.get("kind"))
    name, namespace = _text(given.get("name")), _text(given.get("namespace")) or "default"
    report = Report(value)
    how = _find_kind(value, report)
    if how is not None and not how.namespaced:
        namespace = ""
    key = (kind, namespace, name)
    if not name and (how is not None or report.failed):
        line = value.lines.get("metadata", value.line)
        report.findings.append((Severity.ERROR, line, "metadata.name", "is missing"))
    made: MeshObject | None = None
    if how is not None:
        origin = Origin(kind, namespace, name, path, value.line)
        age = (_text(given.get("creationTimestamp")) or created or "~", path, value.line)
        made = _build(value, how, _Place(origin, age, report))
    problems = [Problem(path, line, severity.value, *key, at, text) for severity, line, at, text in report.findings]
    if report.failed and not (kind and name):
        return None, problems
    return Document(key, None if report.failed else made, value.line, report.failed), problems


def _build(value: YamlMap, how: _Kind, place: _Place) -> MeshObject | None:
    report = place.report
    try:
        doc = how.model.model_validate(value, context=report)
    except ValidationError as e:
        for details in e.errors(include_url=False):
            if details["type"] != "missing" or details["loc"] not in report.misspelt:
                report.at_path(*_explain(details))
        return None
    metadata = getattr(doc, "metadata", None)
    if isinstance(metadata, Metadata) and metadata.name.lower() != metadata.name:
        report.warning(metadata, "name", f"{metadata.name!r} has upper-case letters, which Kubernetes refuses")
    return how.convert(doc, place)


def _find_kind(value: YamlMap, report: Report) -> _Kind | None:
    """How to read the document; None with a finding in the report when we do not."""
    version, kind = value.get("apiVersion"), value.get("kind")
    for key, text in (("apiVersion", version), ("kind", kind)):
        if not isinstance(text, str) or not text:
            report.findings.append((Severity.ERROR, value.lines.get(key, value.line), key, "is missing or no text"))
    if report.failed:
        return None
    assert isinstance(version, str)
    assert isinstance(kind, str)
    how = _KINDS.get((version, kind))
    if how is not None:
        return how
    group = version.rpartition("/")[0]
    versions = sorted(v for v, k in _KINDS if k == kind)
    kinds_here = {k for v, k in _KINDS if v.rpartition("/")[0] == group} | _LATER.get(group, frozenset())
    if kind in _LATER.get(group, ()):
        report.warning(value, "kind", f"{kind} is not supported yet, ignored")
    elif versions and group in {v.rpartition("/")[0] for v in versions}:
        report.error(value, "apiVersion", f"{kind} has no version {version!r}; known: {', '.join(versions)}")
    elif group in _LATER:
        report.error(value, "kind", f"{group} has no kind {kind!r}{suggestion(kind, kinds_here)}")
    elif versions:
        report.error(value, "apiVersion", f"{kind} is not in {version!r}; write {versions[0]!r}")
    else:
        report.warning(value, "kind", f"{kind} of {version} has no effect on the mesh, ignored")
    return None


def _explain(details: ErrorDetails) -> tuple[Path, str]:
    """Path and message of a pydantic error, in words for somebody who writes YAML."""
    path: Path = tuple(p for p in details["loc"] if p not in ("int", "str", "[key]"))
    kind, given = details["type"], details.get("input")
    if kind == "missing":
        return path, "is missing"
    if kind == "string_type" and isinstance(given, (int, float)):
        return path, f'must be text: write "{str(given).lower()}" with quotes'
    if kind == "value_error":
        return path, str(details.get("ctx", {}).get("error", details["msg"]))
    if kind == "literal_error":
        expected = str(details.get("ctx", {}).get("expected", ""))
        words = [w.strip("'") for w in expected.replace(" or ", ", ").split(", ")]
        return path, f"{given!r} is none of {', '.join(w for w in words if w)}{suggestion(str(given), words)}"
    wanted = {
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "list_type": "must be a list",
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be text",
    }.get(kind)
    return path, wanted or details["msg"][0].lower() + details["msg"][1:]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _nameless(path: str, line: int, message: str) -> Problem:
    return Problem(path, line, Severity.ERROR.value, "", "", "", "", message)
