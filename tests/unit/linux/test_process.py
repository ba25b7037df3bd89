"""Processes that outlive us: started, known again, watched, told apart from a reused pid."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.eventually import eventually

from tidegate.errors import Transient
from tidegate.linux.process import UNSEEN, Process, ProcessIdentity, describe_exit, read_identity, start_ticks


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """A stand-in: what the launched shell does with it is to write one file."""
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


@pytest.fixture
async def sleeper(cgroup: Path, tmp_path: Path) -> AsyncIterator[Process]:
    made = Process.launch(["/bin/sleep", "1000"], cgroup=cgroup, log=tmp_path / "log", digest="d")
    yield made
    made.signal(signal.SIGKILL)
    await made.wait()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen(["/bin/sleep", "1000"])
    yield made
    made.kill()
    made.wait()


async def test_it_enters_its_cgroup_before_it_is_the_program(sleeper: Process, cgroup: Path) -> None:
    procs = cgroup / "cgroup.procs"
    await asyncio.to_thread(eventually, lambda: procs.read_text() == "0\n", "the shell wrote itself into the cgroup")
    await asyncio.to_thread(
        eventually, lambda: Path(f"/proc/{sleeper.pid}/comm").read_text() == "sleep\n", "the program replaced the shell"
    )


async def test_it_has_a_session_of_its_own(sleeper: Process) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid


async def test_how_it_ended_is_told(cgroup: Path, tmp_path: Path) -> None:
    ended = Process.launch(["/bin/sh", "-c", "exit 3"], cgroup=cgroup, log=tmp_path / "log", digest="d")
    assert await ended.wait() == "exit code 3"
    assert await ended.wait() == "exit code 3"
    ended.signal(signal.SIGTERM)  # nobody is hit


async def test_a_cgroup_that_cannot_be_entered_stops_the_start(tmp_path: Path) -> None:
    ended = Process.launch(["/bin/sleep", "1000"], cgroup=tmp_path / "absent", log=tmp_path / "log", digest="d")
    assert (await ended.wait()).startswith("exit code")
    assert "cgroup.procs" in (tmp_path / "log").read_text()


async def test_one_that_ended_before_we_looked_is_told_as_any_other(
    cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_late(pid: int) -> int:
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", "it ended")
        return pidfd_open(pid)

    pidfd_open = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", open_late)
    ended = Process.launch(["/bin/sh", "-c", "exit 3"], cgroup=cgroup, log=tmp_path / "log", digest="d")
    assert await ended.wait() == "exit code 3"


async def test_a_log_that_cannot_be_opened_is_told(cgroup: Path, tmp_path: Path) -> None:
    with pytest.raises(Transient):
        Process.launch(["/bin/true"], cgroup=cgroup, log=tmp_path / "absent" / "log", digest="d")


async def test_a_stranger_is_adopted_and_its_end_is_seen(stranger: subprocess.Popen[bytes]) -> None:
    adopted = Process.adopt(ProcessIdentity(stranger.pid, start_ticks(stranger.pid), "d"))
    assert adopted is not None
    assert adopted.adopted
    stranger.kill()
    assert await adopted.wait() == UNSEEN


async def test_a_reused_pid_is_not_adopted(stranger: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity(stranger.pid, start_ticks(stranger.pid), "d")
    assert Process.adopt(replace(identity, start_ticks=identity.start_ticks - 1)) is None


async def test_a_process_that_is_gone_is_not_adopted(stranger: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity(stranger.pid, start_ticks(stranger.pid), "d")
    stranger.kill()
    stranger.wait()
    assert Process.adopt(identity) is None


def test_the_start_time_survives_an_odd_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([odd, "1000"])
    try:
        plain = start_ticks(os.getpid())
        assert start_ticks(process.pid) >= plain
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "start_ticks": 1, "digest": ""}'])
def test_a_damaged_pid_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert read_identity(tmp_path / "pid") is None
    assert read_identity(tmp_path / "absent") is None


def test_a_pid_file_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(json.dumps({"pid": 5, "start_ticks": 7, "digest": "d"}))
    assert read_identity(tmp_path / "pid") == ProcessIdentity(5, 7, "d")


def test_exits_in_words() -> None:
    assert [describe_exit(code) for code in (0, 3, -9, -64)] == [
        "exit code 0",
        "exit code 3",
        "signal SIGKILL",
        "signal SIGRTMAX",
    ]
