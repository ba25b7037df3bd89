"""Objects as the API server tells them -> documents. Pure.

Three readings, from fast to thorough: kinds that come by the thousand are read without a tree (config.typed) as long as
nothing has to be said about one; everything else becomes a tree, as documents of files do; and of what is not even that
the name is found, or the answer is broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tidegate.config import messages as say
from tidegate.config.documents import Document, Piece, document_of, problem_of
from tidegate.config.kinds import KINDS
from tidegate.config.kinds.base import Place
from tidegate.config.reading import read
from tidegate.config.sources.kube.resources import Resource
from tidegate.config.tree import Path, Tree, YamlList, YamlMap
from tidegate.config.typed import DoubtError, Typed, read_typed, struct_of
from tidegate.model.names import ObjectKey

_DEEPEST = 100
_UNREAD: Final = "managedFields"  # of metadata: longer than the rest, and for others
_COPY: Final = "kubectl.kubernetes.io/last-applied-configuration"  # an annotation: the object once more


class BrokenError(ValueError):
    """No object of the Kubernetes API."""


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""  # noqa: N815 - as it is written
    annotations: dict[str, str] | None = None


class _Named(msgspec.Struct, gc=False):
    metadata: _Meta


@dataclass(frozen=True, slots=True)
class Told:
    """An object as it was told."""

    key: ObjectKey
    document: Document
    kept: bytes  # what is read of it, as JSON that read() reads again
    revision: str  # resourceVersion


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far a stream has come. ends_list: all that there was has been told."""

    revision: str
    ends_list: bool


class Reader:
    """Reads objects of one resource."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        kind = KINDS.get((resource.group, resource.kind))
        self._kind = kind
        self._typed = msgspec.json.Decoder(struct_of(kind.shape)) if kind and resource.by_thousands else None
        self._encode = msgspec.json.Encoder().encode
        self.version = resource.versions[0]  # in which the server is asked for it

    def read(self, raw: bytes | msgspec.Raw) -> Told:
        """An object of the resource. Raises BrokenError."""
        if self._typed is not None:
            try:
                return self._quickly(self._typed.decode(raw))
            except (DoubtError, msgspec.MsgspecError, RecursionError):
                pass
        try:
            return self._thoroughly(raw)
        except BrokenError:
            raise
        except Exception as error:  # a fault of ours: one object must not take all others out of force
            return self._unread(raw, f"{type(error).__name__}: {error}")

    def named(self, raw: bytes | msgspec.Raw) -> tuple[ObjectKey, str]:
        """Which object is meant, and its revision. Raises BrokenError."""
        found = _named(raw).metadata
        return self._resource.key(found.namespace or "default", found.name), found.resourceVersion

    def _quickly(self, doc: Any) -> Told:
        assert self._kind is not None
        meta = doc.metadata
        meta.annotations.pop(_COPY, None)
        if not meta.name:
            raise DoubtError
        key = self._kind.key(meta.namespace, meta.name)
        value = read_typed(self._kind, doc, Place(key, "", 0, meta.creation_timestamp, live=True))
        kept: Typed = doc
        return Told(key, Document(key, "", 0, value), self._encode(kept), meta.resource_version)

    def _thoroughly(self, raw: bytes | msgspec.Raw) -> Told:
        try:
            value: Any = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            return self._unread(raw, str(error))
        meta = value.get("metadata") if isinstance(value, dict) else None
        if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
            raise BrokenError(f"an object of {self._resource.name} has no name")
        meta.pop(_UNREAD, None)
        if isinstance(annotations := meta.get("annotations"), dict):
            annotations.pop(_COPY, None)
        value["apiVersion"], value["kind"] = self._resource.api_version(self.version), self._resource.kind
        kept = self._encode(value)
        tree = _tree(value, (), 0)
        piece = Piece(1, kept.decode())
        reading = read(Tree(0, tree), "", live=True)
        return Told(reading.key, document_of(reading, "", piece), kept, _text(meta.get("resourceVersion")))

    def _unread(self, raw: bytes | msgspec.Raw, why: str) -> Told:
        """An object that has a name, and of which no more can be read."""
        key, revision = self.named(raw)
        problem = problem_of(say.NOT_YAML(detail=why), "", 0, key)
        return Told(key, Document(key, "", 0, None, True, (problem,)), b"", revision)


def bookmark(raw: bytes | msgspec.Raw) -> Bookmark:
    """What a bookmark says. Raises BrokenError."""
    meta = _named(raw).metadata
    return Bookmark(meta.resourceVersion, (meta.annotations or {}).get("k8s.io/initial-events-end") == "true")


def _named(raw: bytes | msgspec.Raw) -> _Named:
    try:
        return _NAMED.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BrokenError(str(error)) from None


_NAMED = msgspec.json.Decoder(_Named)


def _tree(value: Any, path: Path, depth: int) -> Any:
    """The same as documents of files are, without lines. Raises RecursionError."""
    if depth > _DEEPEST:
        raise RecursionError("too deep")
    if isinstance(value, Mapping):
        mapping = YamlMap(path, 0)
        for key, member in value.items():
            nested = isinstance(member, dict | list)
            mapping[key] = _tree(member, (*path, key), depth + 1) if nested else member
        return mapping
    items = YamlList(path, 0)
    for index, member in enumerate(value):
        nested = isinstance(member, dict | list)
        items.append(_tree(member, (*path, index), depth + 1) if nested else member)
    items.lines = [0] * len(items)
    return items


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
