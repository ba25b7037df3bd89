from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.support.edges import Edges

Apply = Callable[[str], str]


@pytest.fixture(scope="session")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edges]:
    """The lab of these stories, shared; each removes what it applied."""
    lab = Edges(tmp_path_factory.mktemp("edges"))
    yield lab
    lab.down()


@pytest.fixture
def document(edges: Edges) -> Iterator[Apply]:
    """Apply a document of the user by its name, letter by letter; removed afterwards, and nothing was refused."""
    applied: list[str] = []

    def apply(name: str) -> str:
        done = edges.apply(DOCUMENTS / f"{name}.yaml")
        applied.append(name)
        return done.stdout + done.stderr

    yield apply
    assert not edges.nacks()
    for name in reversed(applied):
        edges.delete(DOCUMENTS / f"{name}.yaml")


@pytest.fixture
def around(edges: Edges) -> Iterator[Apply]:
    """Apply YAML text that a document needs around it; removed afterwards."""
    files: list[Path] = []

    def apply(text: str) -> str:
        path = edges.place / f"around-{len(files)}.yaml"
        path.write_text(text)
        files.append(path)
        done = edges.apply(path)
        return done.stdout + done.stderr

    yield apply
    for path in reversed(files):
        edges.delete(path)
