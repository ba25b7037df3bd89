"""The directory as a source: every way in which files change is seen, half-written states are not."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.configs import service
from tests.support.eventually import HANG_SECONDS

from tidegate.config import files
from tidegate.config.files import FileSource, load_paths
from tidegate.config.source import Loaded
from tidegate.runtime import watch as signs


class Watch:
    """A source being watched."""

    def __init__(self, path: Path) -> None:
        self._readings = FileSource(path).watch()

    async def next(self) -> Loaded:
        return await asyncio.wait_for(anext(self._readings), HANG_SECONDS)

    async def names_after(self, change: Callable[[], object]) -> list[str]:
        """Names of the objects in the reading that follows a change."""
        waiting = asyncio.ensure_future(self.next())
        # Let the watch be in place, as it is in an agent that has been running for a while.
        done, _ = await asyncio.wait([waiting], timeout=0.6)
        assert not done, "told something although nothing changed"
        change()
        return names(await waiting)

    async def close(self) -> None:
        await self._readings.aclose()  # type: ignore[attr-defined]


def names(loaded: Loaded) -> list[str]:
    return sorted(d.key[2] for f in loaded.files for d in f.documents)


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    watch = Watch(tmp_path)
    assert names(await watch.next()) == ["a"]
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
    assert names(await watch.next()) == ["one"]
    assert await watch.names_after(lambda: publish("..two")) == ["two"]
    await watch.close()


async def test_the_directory_itself_may_be_a_symlink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signs, "_LOOK_EVERY", 1 << 60)  # no look without a sign
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service(version, "http:80"))
    current = tmp_path / "current"
    current.symlink_to("one")
    watch = Watch(current)
    assert names(await watch.next()) == ["one"]

    def swap() -> None:
        (tmp_path / "next").symlink_to("two")
        os.replace(tmp_path / "next", current)

    waiting = asyncio.ensure_future(watch.next())
    await asyncio.wait([waiting], timeout=0.3)
    swap()
    assert names(await waiting) == ["two"]
    await watch.close()


async def test_a_file_that_is_truncated_and_then_written_is_seen_whole(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SETTLE_S", 1.5)  # a hundred times what this writer pauses
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.wait([waiting], timeout=0.4)
    with (tmp_path / "a.yaml").open("w") as file:
        for part in service("b", "http:80").splitlines(keepends=True):
            file.write(part)
            file.flush()
            await asyncio.sleep(0.015)  # a slow writer
    assert names(await waiting) == ["b"]


async def test_a_numbered_state_is_read_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_COMMIT_S", HANG_SECONDS)
    (tmp_path / "a.yaml").write_text(service("a", "http:80"))
    (tmp_path / "REVISION").write_text("1\n")
    watch = Watch(tmp_path)
    assert (await watch.next()).revision == 1
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.wait([waiting], timeout=0.4)
    (tmp_path / "b.yaml").write_text(service("b", "http:80"))
    await asyncio.wait([waiting], timeout=0.15)
    (tmp_path / "REVISION").write_text("2\n")
    loaded = await waiting
    assert (names(loaded), loaded.revision) == (["a", "b"], 2)
    await watch.close()


async def test_waits_for_the_directory_and_survives_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "late"
    watch = Watch(path)
    waiting = asyncio.ensure_future(watch.next())
    done, _ = await asyncio.wait([waiting], timeout=0.4)
    assert not done
    path.mkdir()
    (path / "a.yaml").write_text(service("a", "http:80"))
    assert names(await waiting) == ["a"]
    waiting = asyncio.ensure_future(watch.next())
    os.rename(path, tmp_path / "away")
    done, _ = await asyncio.wait([waiting], timeout=0.8)
    assert not done, "a directory that is away for a moment is no wish to delete everything"
    os.rename(tmp_path / "away", path)
    (path / "b.yaml").write_text(service("b", "http:80"))
    assert names(await waiting) == ["a", "b"]
    await watch.close()


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path: Path) -> None:
    text = service("x", "http:80")
    for name in (".hidden.yaml", "notes.txt", "a.yaml~"):
        (tmp_path / name).write_text(text)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.yaml").write_text(text)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text(service("y", "http:80"))
    assert names(FileSource(tmp_path).load()) == ["y"]


def test_origins_rename_files_in_problems(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text("kind: Service\n")
    (tmp_path / ".origins.json").write_text(json.dumps({"copy.yaml": "/home/me/web.yaml"}))
    (file,) = FileSource(tmp_path).load().files
    assert str(file.problems[0]).startswith("/home/me/web.yaml:1: error")


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "good.yaml").write_text(service("a", "http:80"))
    loaded = FileSource(tmp_path).load()
    assert names(loaded) == ["a"]
    assert [(Path(p.file).name, p.message) for p in loaded.problems] == [
        ("gone.yaml", "cannot be read: No such file or directory"),
        ("latin.yaml", "is no UTF-8 text (byte 3)"),
    ]


def test_several_paths_and_single_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(service(name, "http:80"))
    assert names(load_paths([tmp_path / "b.yaml", tmp_path / "a.yaml"])) == ["a", "b"]
    assert load_paths([tmp_path / "none.yaml"]).problems[0].message == "does not exist"
