"""What a cluster tells, without a server: objects as configuration."""

from __future__ import annotations

import json
from typing import Any

from tidegate.config.sources.base import InSync, Upsert
from tidegate.config.sources.kube.decode import Reader, Told
from tidegate.config.sources.kube.resources import RESOURCES, Resource, secret
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh

Object = dict[str, Any]


def resource_of(kind: str) -> Resource:
    """The row of a kind."""
    return secret("", "") if kind == "Secret" else next(r for r in RESOURCES if r.kind == kind)


def told(document: Object) -> Told:
    """An object as a follower tells it."""
    return Reader(resource_of(document["kind"])).read(json.dumps(document).encode())


class Cluster:
    """A source that a test holds in its hands."""

    def __init__(self) -> None:
        self.store = Store()

    def say(self, *documents: Object) -> Mesh:
        """These are new or others."""
        return self.store.apply(0, [*(Upsert(told(document).document) for document in documents), InSync()])


def mesh_told(*documents: Object) -> Mesh:
    """The configuration of a cluster with these objects. Fails on errors in them."""
    mesh = Cluster().say(*documents)
    assert not [p for p in mesh.problems if p.is_error], "\n".join(map(str, mesh.problems))
    return mesh
