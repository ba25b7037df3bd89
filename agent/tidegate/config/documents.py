"""One file's text -> model objects and problems. A bad document never hides the others.

Neighbours: tree cuts and parses, the *_schema modules know the messages, sources.files feeds this module, store
keeps the best of each object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tidegate.config.destination_rule import DestinationRuleDoc
from tidegate.config.kube_schema import AnyDoc, DeploymentDoc, Metadata, NamespaceDoc, PodDoc, ServiceDoc
from tidegate.config.schema import ApiModel, Report, suggestion, words
from tidegate.config.tree import Path, Tree, YamlList, YamlMap, pieces, read_tree
from tidegate.config.virtual_service import VirtualServiceDoc
from tidegate.model.kube import Age, Namespace, Pod, PodTemplate, Service
from tidegate.model.mesh import Problem, Severity
from tidegate.model.names import ObjectKey
from tidegate.model.origin import Origin
from tidegate.model.routing import VirtualService
from tidegate.model.traffic import DestinationRule

MeshObject = Namespace | Pod | PodTemplate | Service | VirtualService | DestinationRule


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one YAML document and the line of its file in which it begins."""

    first: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """One object as written."""

    key: ObjectKey
    file: str  # as reported to the user; empty: it comes from no file
    line: int
    value: MeshObject | None  # None: not usable, or of no interest
    failed: bool = False  # it has errors, so an earlier version of it stays in force
    problems: tuple[Problem, ...] = ()
    piece: Piece | None = field(default=None, repr=False, compare=False)  # kept on disk while a newer one is broken

    def in_place_of(self, other: Document) -> Document:
        """This document, told beside another one of the same object that came before it and has lost."""
        text = f"also defined at {other.file}:{other.line}; the definition here is used"
        told = Problem(self.file, self.line, Severity.WARNING.value, *self.key[1:], "", text)
        return replace(self, problems=(*other.problems, *self.problems, told))


@dataclass(frozen=True, slots=True)
class Part:
    """What one piece of a file says."""

    piece: Piece
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()  # of what has no name
    unreadable: bool = False  # some object in it could not be told apart


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says."""

    path: str  # as reported to the user
    parts: tuple[Part, ...] = ()

    @property
    def documents(self) -> list[Document]:
        """Everything that has a name, in the order of the file."""
        return [document for part in self.parts for document in part.documents]

    @property
    def nameless(self) -> tuple[Problem, ...]:
        """Findings about what has no name."""
        return tuple(problem for part in self.parts for problem in part.problems)

    @property
    def problems(self) -> list[Problem]:
        """All findings."""
        return [*self.nameless, *(problem for document in self.documents for problem in document.problems)]

    @property
    def unreadable(self) -> bool:
        """Whether some object could not be told apart, so that absence of one means nothing."""
        return any(part.unreadable for part in self.parts)

    def objects(self) -> dict[ObjectKey, Document]:
        """The document that speaks for each object: the last one, as `kubectl apply` of the file would leave it."""
        found: dict[ObjectKey, Document] = {}
        for part in self.parts:
            for document in part.documents:
                other = found.get(document.key)
                found[document.key] = document if other is None else document.in_place_of(other)
        return found


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


def parse_text(text: str, path: str, before: ParsedFile | None = None) -> ParsedFile:
    """Read every document of a file. path is how the file is called in problems and origins.

    before: an earlier reading of the file; what stands unchanged in it is taken from there.
    """
    known = {part.piece: part for part in before.parts} if before is not None and before.path == path else {}
    parts = []
    for first, chunk in pieces(text):
        piece = Piece(first, chunk)
        part = known.get(piece) or read_piece(piece, path)
        if part.documents or part.problems:
            parts.append(part)
    return ParsedFile(path, tuple(parts))


def read_piece(piece: Piece, path: str) -> Part:
    """Read one YAML document: an object, a list of them, nothing, or something that is wrong."""
    tree = read_tree(piece.first, piece.text)
    if tree is None:
        return Part(piece)
    if tree.problem is not None:
        return Part(piece, (), (_nameless(path, tree.problem.line, tree.problem.message),), unreadable=True)
    documents: list[Document] = []
    problems: list[Problem] = []
    for item in _items(tree):
        found = _read(item, path, piece)
        if isinstance(found, Document):
            documents.append(found)
        else:
            problems += found
    return Part(piece, tuple(documents), tuple(problems), bool(problems))


def _items(tree: Tree) -> Iterator[Tree]:
    """The members of a v1 List, else the document itself."""
    value = tree.value
    if isinstance(value, YamlMap) and value.get("kind") == "List" and isinstance(value.get("items"), YamlList):
        items = value["items"]
        for item, line in zip(items, items.lines, strict=True):
            yield Tree(line, item)
        return
    yield tree


def _read(tree: Tree, path: str, piece: Piece) -> Document | list[Problem]:
    """The document; when it has no name by which it could be known, what is wrong with it."""
    value = tree.value
    if not isinstance(value, YamlMap):
        message = "is no object: it needs apiVersion, kind and metadata"
        return [_nameless(path, tree.line, message)]
    metadata = value.get("metadata")
    given = metadata if isinstance(metadata, YamlMap) else YamlMap((), value.line)
    kind = _text(value.get("kind"))
    name, namespace = _text(given.get("name")), _text(given.get("namespace")) or "default"
    report = Report(value)
    how = _find_kind(value, report)
    if how is not None and not how.namespaced:
        namespace = ""
    key = ObjectKey(_group(_text(value.get("apiVersion")), kind), kind, namespace, name)
    if not name and (how is not None or report.failed):
        line = value.lines.get("metadata", value.line)
        report.findings.append((Severity.ERROR, line, "metadata.name", "is missing"))
    made: MeshObject | None = None
    if how is not None:
        origin = Origin(kind, namespace, name, path, value.line)
        age = (_text(given.get("creationTimestamp")) or "~", path, value.line)
        made = _build(value, how, _Place(origin, age, report))
    problems = [Problem(path, line, severity.value, *key[1:], at, text) for severity, line, at, text in report.findings]
    if report.failed and not (kind and name):
        return problems
    failed = report.failed
    return Document(key, path, value.line, None if failed else made, failed, tuple(problems), piece)


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


def _group(version: str, kind: str) -> str:
    """The API group of an object; of a kind that we know, its own, so that a wrong apiVersion makes no other object."""
    if (version, kind) not in _KINDS:
        version = next((v for v, k in _KINDS if k == kind), version)
    return version.rpartition("/")[0]


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
