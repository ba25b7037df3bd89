"""The directory as a source: every way in which files change is seen, half-written states are not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from tests.support.configs import service
from tests.support.eventually import HANG_SECONDS

from tidegate.config.sources import files
from tidegate.config.sources.base import Change, Delete, Findings, InSync, Upsert
from tidegate.config.sources.content import read_text
from tidegate.config.sources.files import FileSource, load_paths
from tidegate.model.mesh import Problem
from tidegate.model.names import ObjectKey

PATIENCE = HANG_SECONDS


class Heard:
    """What is known after everything that a source told."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Upsert] = {}
        self.findings: dict[str, Findings] = {}
        self.revision = -1

    def take(self, changes: Sequence[Change]) -> Heard:
        assert isinstance(changes[-1], InSync), "a batch of files is a whole state"
        for change in changes:
            match change:
                case Upsert(document):
                    assert self.objects.get(document.key) != change, "told again although nothing changed"
                    self.objects[document.key] = change
                case Delete(key):
                    self.objects.pop(key, None)  # it may have come and gone between two batches
                case Findings(part):
                    assert self.findings.get(part) != change, "told again although nothing changed"
                    self.findings[part] = change
                case InSync(revision):
                    self.revision = revision
        return self

    @property
    def names(self) -> list[str]:
        return sorted(key.name for key in self.objects)

    @property
    def problems(self) -> list[Problem]:
        return sorted(problem for part in self.findings.values() for problem in part.problems)


class Watch:
    """A source being watched."""

    def __init__(self, path: Path) -> None:
        self._told = FileSource(path).watch()
        self.heard = Heard()

    async def next(self) -> list[str]:
        """Names of the objects after the next thing that the source tells."""
        return self.heard.take(await asyncio.wait_for(anext(self._told), PATIENCE)).names

    async def names_after(self, change: Callable[[], object]) -> list[str]:
        """Names of the objects in what follows a change."""
        waiting = asyncio.ensure_future(self.next())
        # Let the watch be in place, as it is in an agent that has been running for a while.
        done, _ = await asyncio.wait([waiting], timeout=0.6)
        assert not done, "told something although nothing changed"
        change()
        return await waiting

    async def close(self) -> None:
        await self._told.aclose()  # type: ignore[attr-defined]


def load(path: Path) -> Heard:
    return Heard().take(FileSource(path).load())


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    watch = Watch(tmp_path)
    assert await watch.next() == ["a"]
    yield watch
    await watch.close()


async def test_a_new_and_a_rewritten_file(watch: Watch, tmp_path: Path) -> None:
    assert await watch.names_after(lambda: (tmp_path / "b.yaml").write_text(service("b", "http:80"))) == ["a", "b"]
    assert await watch.names_after(lambda: (tmp_path / "b.yaml").write_text(service("c", "http:80"))) == ["a", "c"]
    assert await watch.names_after((tmp_path / "b.yaml").unlink) == ["a"]


async def test_an_editor_that_renames(watch: Watch, tmp_path: Path) -> None:
    def save() -> None:
        (tmp_path / ".a.yaml.swp").write_text(service("b", "http:80"))
        os.replace(tmp_path / ".a.yaml.swp", tmp_path / "a.yaml")

    assert await watch.names_after(save) == ["b"]


async def test_an_atomic_symlink_swap(tmp_path: Path) -> None:
    def publish(version: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(version.strip("."), "http:80"))
        (tmp_path / "..data_tmp").symlink_to(version)
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")

    publish("..one")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    watch = Watch(tmp_path)
    assert await watch.next() == ["one"]
    assert await watch.names_after(lambda: publish("..two")) == ["two"]
    await watch.close()


async def test_the_directory_itself_may_be_a_symlink(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(version, "http:80"))
    current = tmp_path / "current"
    current.symlink_to("one")
    watch = Watch(current)
    assert await watch.next() == ["one"]

    def swap() -> None:
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", current)

    waiting = asyncio.ensure_future(watch.next())
    await asyncio.wait([waiting], timeout=0.3)
    swap()
    assert await waiting == ["two"]
    await watch.close()


async def test_a_file_that_is_truncated_and_then_written_is_seen_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a", "http:80"))
    rest = service("b", "http:80").splitlines(keepends=True)[:4]

    async def writer_goes_on(_seconds: float) -> None:
        if rest:
            with file.open("a") as out:
                out.write(rest.pop(0))

    source = FileSource(tmp_path, writer_goes_on)
    heard = Heard().take(await source.look())
    file.write_text("")
    assert heard.take(await source.look()).names == ["b"]
    assert not rest


async def test_a_numbered_state_is_read_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    (tmp_path / "REVISION").write_text("1\n")
    pauses = 0

    async def number_comes_late(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 5:
            (tmp_path / "c.yaml").write_text(service("c", "http:80"))
            (tmp_path / "REVISION").write_text("2\n")

    source = FileSource(tmp_path, number_comes_late)
    heard = Heard().take(await source.look())
    assert (heard.names, heard.revision) == (["a"], 1)
    (tmp_path / "b.yaml").write_text(service("b", "http:80"))
    heard.take(await source.look())
    assert (heard.names, heard.revision) == (["a", "b", "c"], 2)
    assert pauses == 5


async def test_a_new_number_says_that_nobody_is_writing(tmp_path: Path) -> None:
    async def never(_seconds: float) -> None:
        raise AssertionError("waited for a writer although the state was complete")

    (tmp_path / "REVISION").write_text("1\n")
    source = FileSource(tmp_path, never)
    heard = Heard().take(await source.look())
    (tmp_path / "b.yaml").write_text(service("b", "http:80"))
    (tmp_path / "REVISION").write_text("2\n")
    assert heard.take(await source.look()).names == ["b"]


def test_a_reading_during_which_the_number_changed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = read_text

    def writer_comes_between(path: str, most: int = 0, *, pipes: bool = False) -> str:
        text = content(path)
        if not (tmp_path / "b.yaml").exists():
            (tmp_path / "b.yaml").write_text(service("b", "http:80"))
            (tmp_path / "a.yaml").write_text(service("c", "http:80"))
            (tmp_path / "REVISION").write_text("2\n")
        return text

    monkeypatch.setattr(files, "read_text", writer_comes_between)
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    (tmp_path / "REVISION").write_text("1\n")
    heard = load(tmp_path)
    assert (heard.names, heard.revision) == (["b", "c"], 2)


async def test_who_never_numbers_again_is_not_waited_for_without_end(tmp_path: Path) -> None:
    waited = 0.0

    async def pause(seconds: float) -> None:
        nonlocal waited
        waited += seconds

    (tmp_path / "REVISION").write_text("1\n")
    source = FileSource(tmp_path, pause)
    heard = Heard().take(await source.look())
    (tmp_path / "b.yaml").write_text(service("b", "http:80"))
    assert heard.take(await source.look()).names == ["b"]
    assert waited < 1


async def test_only_what_changed_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a", "http:80") + "---" + service("b", "http:80"))
    (tmp_path / "c.yaml").write_text(service("c", "http:80"))
    source = FileSource(tmp_path)
    source.load()
    assert not source.load()
    (tmp_path / "a.yaml").write_text(service("a", "http:80") + "---" + service("b", "http:81"))
    (change, _) = source.load()
    assert isinstance(change, Upsert)
    assert change.document.key.name == "b"
    (tmp_path / "c.yaml").write_text(service("c", "http:80") + "# said in other words\n")
    assert not source.load()
    (tmp_path / "b.yaml").write_text(service("b", "http:82"))
    (change, _) = source.load()
    assert isinstance(change, Upsert)
    assert change.document.file == str(tmp_path / "b.yaml"), "the last file speaks"
    (tmp_path / "b.yaml").unlink()
    (change, _) = source.load()
    assert isinstance(change, Upsert)
    assert change.document.file == str(tmp_path / "a.yaml"), "and then the one before it"
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    (change, _) = source.load()
    assert change == Delete(ObjectKey("", "Service", "default", "b"))


@pytest.mark.parametrize("age", [-3600, 3600])
async def test_a_file_whose_mark_will_tell_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int
) -> None:
    """Also one that was written by somebody whose clock is ahead. It was changed an hour ago."""
    content, read = read_text, list[str]()

    def counted(path: str, most: int = 0, *, pipes: bool = False) -> str:
        read.extend([path] if path.endswith(".yaml") else [])
        return content(path)

    monkeypatch.setattr(files, "read_text", counted)
    now = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    file = tmp_path / "a.yaml"
    file.write_text(service("a", "http:80"))
    written = file.stat().st_mtime - age
    os.utime(file, (written, written))
    source = FileSource(tmp_path)
    for _ in range(3):
        await source.look()
    assert len(read) == 1


async def test_a_file_changed_under_the_same_mark_is_read_at_the_next_look(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(service("a", "http:80"))
    source = FileSource(tmp_path)
    heard = Heard().take(await source.look())
    before = file.stat()
    with file.open("r+") as out:
        out.write(service("b", "http:80"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert heard.take(await source.look()).names == ["b"]


async def test_waits_for_the_directory_and_survives_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "late"
    watch = Watch(path)
    waiting = asyncio.ensure_future(watch.next())
    done, _ = await asyncio.wait([waiting], timeout=0.4)
    assert not done
    path.mkdir()
    (path / "a.yaml").write_text(service("a", "http:80"))
    assert await waiting == ["a"]
    waiting = asyncio.ensure_future(watch.next())
    os.rename(path, tmp_path / "away")
    done, _ = await asyncio.wait([waiting], timeout=0.8)
    assert not done, "a directory that is away for a moment is no wish to delete everything"
    os.rename(tmp_path / "away", path)
    (path / "b.yaml").write_text(service("b", "http:80"))
    assert await waiting == ["a", "b"]
    await watch.close()


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path: Path) -> None:
    text = service("x", "http:80")
    for name in (".hidden.yaml", "notes.txt", "a.yaml~"):
        (tmp_path / name).write_text(text)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.yaml").write_text(text)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text(service("y", "http:80"))
    assert load(tmp_path).names == ["y"]


def test_origins_rename_files_in_problems(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text("kind: Service\n")
    (tmp_path / ".origins.json").write_text(json.dumps({"copy.yaml": "/home/me/web.yaml"}))
    assert str(load(tmp_path).problems[0]).startswith("/home/me/web.yaml:1: error")


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "good.yaml").write_text(service("a", "http:80"))
    heard = load(tmp_path)
    assert heard.names == ["a"]
    assert [(Path(p.file).name, p.message) for p in heard.problems] == [
        ("gone.yaml", "cannot be read: No such file or directory"),
        ("latin.yaml", "is no UTF-8 text (byte 3): save it as UTF-8"),
    ]


def test_several_paths_and_single_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(service(name, "http:80"))
    told = load_paths([tmp_path / "b.yaml", tmp_path / "a.yaml"])
    assert [Heard().take(changes).names for changes in told] == [["b"], ["a"]]
    (findings, _) = load_paths([tmp_path / "none.yaml"])[0]
    assert findings.problems[0].message == "does not exist"
