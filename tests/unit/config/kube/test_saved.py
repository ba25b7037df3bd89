"""What a process leaves for the next one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.config.sources.kube.saved import Saved
from tidegate.model.names import ObjectKey

SERVER = "https://10.96.0.1:443"


def key(name: str) -> ObjectKey:
    return ObjectKey("", "Service", "default", name)


def loaded(directory: Path, server: str = SERVER) -> list[bytes] | None:
    facts = Saved(directory).load("services", server)
    return None if facts is None else facts.objects


def test_all_of_it_and_later_changes(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "kube")
    assert saved.load("services", SERVER) is None
    assert saved.replace("services", SERVER, {key("a"): b'{"a":1}', key("b"): b'{"b":1}'})
    saved.change("services", [(key("a"), b'{"a":2}'), (key("c"), b'{"c":1}'), (key("b"), b"")])
    assert loaded(tmp_path / "kube") == [b'{"a":2}', b'{"c":1}']
    assert loaded(tmp_path / "kube", "") == [b'{"a":2}', b'{"c":1}']
    assert loaded(tmp_path / "kube", "https://another") is None


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Saved(tmp_path / "kube").replace("services", SERVER, {})
    (file,) = (tmp_path / "kube").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "kube").stat().st_mode & 0o777 == 0o700


def test_what_was_not_written_to_its_end_is_left_out(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    saved.replace("services", SERVER, {key("a"): b'{"a":1}'})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole + b'default/a\t{"a":')
    assert loaded(tmp_path) == [b'{"a":1}']
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        assert loaded(tmp_path) in (None, [])


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"x\n", b"[]\n", b'{"format": 2, "resource": "services"}\n', b"\xff\n"]
)
def test_what_is_something_else_is_nothing(tmp_path: Path, content: bytes) -> None:
    Saved(tmp_path).replace("services", SERVER, {})
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert loaded(tmp_path) is None


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    saved.replace("services", SERVER, {key("a"): b"0", key("b"): b"1"})
    (file,) = tmp_path.iterdir()
    most = 0
    for number in range(60):
        saved.change("services", [(key("a"), b"%d" % number + b" " * 50_000)])
        most = max(most, file.stat().st_size)
    assert most < 1_300_000
    assert [value.strip() for value in loaded(tmp_path) or []] == [b"59", b"1"]


def test_its_age_is_that_of_the_last_look(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    saved.replace("services", SERVER, {})
    (file,) = tmp_path.iterdir()
    os.utime(file, (1000, 1000))
    facts = saved.load("services", SERVER)
    assert facts is not None
    assert facts.seen == 1000
    saved.seen()
    facts = saved.load("services", SERVER)
    assert facts is not None
    assert facts.seen > 1000


def test_a_disk_that_takes_nothing_is_told_and_leaves_no_half(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kube").write_text("in the way")
    saved = Saved(tmp_path / "kube")
    assert not saved.replace("services", SERVER, {})
    saved.change("services", [(key("a"), b"1")])
    saved.seen()
    assert not saved.replace("services", SERVER, {})
    assert len(caplog.records) == 1
    saved = Saved(tmp_path / "other")
    assert saved.replace("services", SERVER, {key("a"): b"1"})
    (file,) = (tmp_path / "other").iterdir()
    file.unlink()
    saved.change("services", [(key("b"), b"1")])
    assert loaded(tmp_path / "other") is None


def test_what_nobody_wants_is_removed(tmp_path: Path) -> None:
    saved = Saved(tmp_path)
    saved.replace("services", SERVER, {})
    saved.forget("services")
    saved.forget("services")
    assert list(tmp_path.iterdir()) == []
