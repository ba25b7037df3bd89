from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.filtered import Filtered


@pytest.fixture(scope="session")
def filtered() -> Iterator[Filtered]:
    """The lab of these stories, shared."""
    lab = Filtered()
    yield lab
    lab.down()


@pytest.fixture
def lab(filtered: Filtered) -> Iterator[Filtered]:
    """The same, without the filters of the story when it is over; then nothing is refused any more."""
    yield filtered
    filtered.clear()
