"""What outlives an agent: the last good versions of what is broken, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.configs import Texts, service

from tidegate.config.last_good import LastGood
from tidegate.config.store import Store

GOOD = service("web", "http:80", ips="10.96.0.1")
BROKEN = GOOD.replace("ports:", "portz:")
OTHER = service("other", "http:80")
UNREAD: dict[str, str] = {}  # a.yaml is there and cannot be read


def life(directory: Path, *readings: dict[str, str]) -> list[str]:
    """Names of the services that an agent with this directory serves after these readings."""
    store, last_good, source = Store(), LastGood(directory), Texts()
    store.seed(last_good.seed())
    for files in readings:
        store.apply(0, source.say(files, 0, ("a.yaml",) if files is UNREAD else ()))
        last_good.keep(store.broken)
    assert store.mesh is not None
    return [s.id.name for s in store.mesh.services]


def test_the_last_good_version_survives_a_restart(tmp_path: Path) -> None:
    assert life(tmp_path, {"a.yaml": GOOD}, {"a.yaml": BROKEN}) == ["web"]
    assert life(tmp_path, {"a.yaml": BROKEN}) == ["web"]
    assert life(tmp_path, {"a.yaml": BROKEN}) == ["web"], "and the next one"
    assert [p.stat().st_mode & 0o777 for p in tmp_path.iterdir()] == [0o600]


def test_a_record_holds_one_document_and_says_where_it_stood(tmp_path: Path) -> None:
    life(tmp_path, {"a.yaml": OTHER + "---" + GOOD}, {"a.yaml": OTHER + "---" + BROKEN})
    (record,) = tmp_path.iterdir()
    content = json.loads(record.read_text())
    assert content["key"] == ["", "Service", "default", "web"]
    assert "other" not in content["text"]
    store = Store()
    store.seed(LastGood(tmp_path).seed())
    (web,) = store.apply(0, Texts().say({"a.yaml": BROKEN})).services
    assert (web.origin.file, web.origin.line) == ("a.yaml", 11)


def test_nothing_is_kept_of_good_or_vanished_documents(tmp_path: Path) -> None:
    life(tmp_path, {"a.yaml": GOOD}, {"a.yaml": BROKEN}, {"a.yaml": GOOD})
    assert not list(tmp_path.iterdir())
    life(tmp_path, {"a.yaml": GOOD}, {"a.yaml": BROKEN}, {})
    assert not list(tmp_path.iterdir())
    life(tmp_path, {"a.yaml": GOOD}, {"a.yaml": BROKEN})
    assert life(tmp_path, {}) == []
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_for_a_moment_is_not_forgotten(tmp_path: Path) -> None:
    life(tmp_path, {"a.yaml": GOOD}, UNREAD)
    assert life(tmp_path, UNREAD) == ["web"]
    assert life(tmp_path, {"a.yaml": BROKEN}) == ["web"]


def test_an_object_in_what_is_no_yaml_is_not_forgotten(tmp_path: Path) -> None:
    torn = OTHER + "---\nkind: [\n"
    life(tmp_path, {"a.yaml": OTHER + "---" + GOOD}, {"a.yaml": torn})
    assert life(tmp_path, {"a.yaml": torn}) == ["other", "web"]
    assert life(tmp_path, {"a.yaml": OTHER}) == ["other"]


def test_records_of_whole_files_are_read(tmp_path: Path) -> None:
    """As agents wrote them that kept last good versions per file."""
    (tmp_path / "old.json").write_text(json.dumps({"path": "a.yaml", "text": OTHER + "---" + GOOD}))
    assert life(tmp_path, {"a.yaml": OTHER + "---" + BROKEN}) == ["other", "web"]
    (record,) = tmp_path.iterdir()
    assert record.name != "old.json"
    assert life(tmp_path, {"a.yaml": BROKEN}) == ["web"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": "a.yaml"}', '{"path": "a.yaml", "text": 1}'])
def test_a_damaged_record_is_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert life(tmp_path, {"a.yaml": BROKEN}) == []
    assert not list(tmp_path.iterdir())
