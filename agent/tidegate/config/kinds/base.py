"""What a kind is: how its documents look, what they mean, what they refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tidegate.config.links import Links, Topic
from tidegate.config.schema import ApiModel, Finding, Report
from tidegate.model.kube import Age
from tidegate.model.mesh import MeshObject
from tidegate.model.names import ObjectKey
from tidegate.model.origin import Origin


@dataclass(frozen=True, slots=True)
class Place:
    """Which object a document is, and where it was written."""

    key: ObjectKey
    file: str
    line: int
    created: str = ""  # creationTimestamp
    live: bool = False  # a cluster tells it, which writes down by itself who is behind a Service

    @property
    def origin(self) -> Origin:
        return Origin.at(self.key, self.file, self.line)

    @property
    def age(self) -> Age:
        return Age(not self.created, self.created, self.file, self.line)


def _nothing(_value: Any, _links: Links | None = None) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of the Kubernetes or Istio API. Callables are pure."""

    group: str
    name: str
    versions: tuple[str, ...]  # all of them have one shape
    shape: type[ApiModel]
    read: Callable[[Any, Place, Report], MeshObject | None]  # a valid shape -> a value; None: of no interest
    shelf: str = ""  # field of Mesh in which the values stand
    namespaced: bool = True
    provides: Callable[[Any], Iterable[Topic]] = _nothing  # what others may look for
    looks_at: Callable[[Any], Iterable[Topic]] = _nothing  # what decides about the findings of check
    check: Callable[[Any, Links], Iterable[Finding]] = _nothing  # what only shows beside other objects

    @property
    def api_versions(self) -> tuple[str, ...]:
        """As apiVersion is written."""
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)

    def key(self, namespace: str, name: str) -> ObjectKey:
        """The identity of an object of this kind."""
        return ObjectKey(self.group, self.name, namespace if self.namespaced else "", name)
