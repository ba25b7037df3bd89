from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.configs import service

from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.last_good import LastGood
from tidegate.config.source import Loaded
from tidegate.config.store import Store
from tidegate.model.mesh import Problem, Severity

GOOD = service("web", "http:80", ips="10.96.0.1")
BROKEN = GOOD.replace("ports:", "portz:")


def reading(*files: tuple[str, str]) -> Loaded:
    return Loaded(tuple(parse_text(text, path) for path, text in files))


def life(directory: Path, *readings: Loaded) -> list[str]:
    """Names of the services that an agent with this directory serves after these readings."""
    store, last_good = Store(), LastGood(directory)
    config = store.merge(last_good.seed())
    for one in readings:
        config = store.merge(one)
        last_good.remember(one)
    return [s.id.name for s in config.services]


def test_the_last_good_version_survives_a_restart(tmp_path: Path) -> None:
    assert life(tmp_path, reading(("a.yaml", GOOD)), reading(("a.yaml", BROKEN))) == ["web"]
    assert life(tmp_path, reading(("a.yaml", BROKEN))) == ["web"]
    assert life(tmp_path, reading(("a.yaml", BROKEN))) == ["web"], "and the next one"
    assert [p.stat().st_mode & 0o777 for p in tmp_path.iterdir()] == [0o600]


def test_nothing_is_kept_of_good_or_vanished_files(tmp_path: Path) -> None:
    life(tmp_path, reading(("a.yaml", GOOD)), reading(("a.yaml", BROKEN)), reading(("a.yaml", GOOD)))
    assert not list(tmp_path.iterdir())
    life(tmp_path, reading(("a.yaml", GOOD)), reading(("a.yaml", BROKEN)), reading())
    assert not list(tmp_path.iterdir())
    assert life(tmp_path, reading()) == []


def test_a_file_that_cannot_be_read_for_a_moment_is_not_forgotten(tmp_path: Path) -> None:
    unread = Problem("a.yaml", 1, Severity.ERROR.value, "", "", "", "", "cannot be read")
    life(tmp_path, reading(("a.yaml", GOOD)), reading(("a.yaml", BROKEN)), Loaded((), 0, (unread,)))
    assert life(tmp_path, reading(("a.yaml", BROKEN))) == ["web"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": "a.yaml"}'])
def test_a_damaged_record_is_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert life(tmp_path, reading(("a.yaml", BROKEN))) == []
    assert not list(tmp_path.iterdir())


def test_text_is_no_part_of_what_a_file_says() -> None:
    assert ParsedFile("a", (), (), False, "x") == ParsedFile("a", (), (), False, "y")
