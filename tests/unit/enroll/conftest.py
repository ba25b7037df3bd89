from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.sandbox_store import Namespaces


@pytest.fixture
def namespaces(tmp_path: Path) -> Namespaces:
    (tmp_path / "netns").mkdir()
    return Namespaces(tmp_path / "netns")
