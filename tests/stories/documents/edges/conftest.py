from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.support.edges import Edges
from tests.support.lab import PATIENTLY

Given = Callable[..., None]


@pytest.fixture(scope="session")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edges]:
    """The lab of these stories, shared; each removes what it applied."""
    lab = Edges(tmp_path_factory.mktemp("edges"))
    yield lab
    lab.down()


@pytest.fixture
def given(edges: Edges, tmp_path: Path) -> Iterator[Given]:
    """given("01-...", YAML text, ...) applies documents as the user wrote them, and what they need around them. Removed
    when the story is over; then nothing may have been refused."""
    applied: list[str | Path] = []

    def apply(*parts: str) -> None:
        files: list[str | Path] = []
        for number, part in enumerate(parts):
            path = DOCUMENTS / f"{part}.yaml"
            if "\n" in part:
                path = tmp_path / f"around-{len(applied)}-{number}.yaml"
                path.write_text(part)
            files += ["-f", path]
        applied.extend(files)
        edges.tidegate("lab", "apply", *files, *PATIENTLY)

    yield apply
    refused = edges.nacks()
    if applied:
        edges.tidegate("lab", "delete", *applied, *PATIENTLY)
    assert not refused
