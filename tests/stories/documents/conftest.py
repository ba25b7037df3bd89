"""What each document's story stands on: a lab with what the documents name, and a way to apply them as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.support.inside import Client
from tests.support.lab import MANIFESTS, PATIENTLY, Lab
from tests.support.labs import needs_root

__all__ = ["needs_root"]

Given = Callable[..., None]
# What makes a mesh mean by its documents what Istio 1.0 meant (decision 23).
OLD_API = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  tidegate: |
    compat: v1alpha3-1.0
"""


@pytest.fixture(scope="session")
def documents_lab() -> Iterator[Lab]:
    """One node with manifests/documents.yaml, shared by stories that leave it as they found it."""
    lab = Lab("documents")
    lab.up(MANIFESTS / "documents.yaml")
    yield lab
    lab.down()


@pytest.fixture
def lab(documents_lab: Lab) -> Lab:
    """The lab that the documents of a story are applied to; a module with a lab of its own has its own `lab`."""
    return documents_lab


@pytest.fixture
def client(lab: Lab) -> Client:
    """curl in the pod default/client."""
    return Client(lab, "client")


@pytest.fixture
def given(lab: Lab, tmp_path: Path) -> Iterator[Given]:
    """given("14-...", "13-...", or YAML text ...) applies documents as the user wrote them, and what they take for
    granted; returns when all of it is in force. Taken away when the story is over."""
    applied: list[Path] = []

    def apply(*documents: str) -> None:
        paths = [DOCUMENTS / f"{document}.yaml" for document in documents]
        for i, document in enumerate(documents):
            if "\n" in document:
                paths[i] = tmp_path / f"surroundings-{len(applied) + i}.yaml"
                paths[i].write_text(document)
        applied.extend(paths)
        lab.tidegate("lab", "apply", *_files(paths), *PATIENTLY)

    yield apply
    if applied:
        lab.tidegate("lab", "delete", *_files(applied), *PATIENTLY)


@pytest.fixture
def in_a_mesh_of_the_old_api(given: Given) -> None:
    """The story's documents mean what they meant to Istio 1.0."""
    given(OLD_API)


def _files(paths: list[Path]) -> list[str | Path]:
    return [part for path in paths for part in ("-f", path)]
