"""Files that are replaced under a running process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Rejected
from tidegate.identity.files import WatchedFile


def number(content: bytes, subject: str) -> int:
    if not content.strip().isdigit():
        raise Rejected(subject, "is no number")
    return int(content)


async def test_what_changes_is_read_and_what_is_wrong_is_told_and_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    told: asyncio.Queue[int] = asyncio.Queue()
    file = WatchedFile(path, number)
    assert (file.value, file.problem) == (1, "")
    following = asyncio.create_task(file.run(told.put))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            put(path, "2")
            assert await told.get() == 2
            put(path, "two")
            while not file.problem:  # noqa: ASYNC110 - nobody is told of what was not taken
                await asyncio.sleep(0.01)
            assert (file.value, file.problem) == (2, f"{path}: is no number")
            put(path, "3")
            assert await told.get() == 3
            assert file.problem == ""
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def put(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_what_is_wrong_at_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        WatchedFile(tmp_path / "absent", number)
    (tmp_path / "text").write_text("text")
    with pytest.raises(Rejected, match="is no number"):
        WatchedFile(tmp_path / "text", number)
