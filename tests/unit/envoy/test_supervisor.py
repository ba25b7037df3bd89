"""The supervisor's decisions, with small programs in Envoy's place and a clock that the test turns."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.clock import ManualClock
from tests.support.eventually import HANG_SECONDS

from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.errors import Fatal
from tidegate.linux.cgroup_dir import Cgroup
from tidegate.linux.process import start_ticks
from tidegate.supervise.files import rotate
from tidegate.supervise.supervisor import HUNG_SECONDS, TERM_SECONDS, ProgramState


class Bench:
    """A supervisor over a program written by the test."""

    def __init__(self, tmp: Path, program: str) -> None:
        self.clock = ManualClock()
        self.tmp = tmp
        self.binary = tmp / "program"
        self.binary.write_text(f"#!/bin/sh\n{program}\n")
        self.binary.chmod(0o755)
        self.cgroup = tmp / "cgroup"
        self.cgroup.mkdir()
        (self.cgroup / "cgroup.procs").touch()
        self.supervisor = EnvoySupervisor(
            self.binary, tmp, "node1", tmp / "xds.sock", self.cgroup, 1, self.clock, jitter=lambda: 0.0
        )
        self.task: asyncio.Task[None] | None = None

    async def until(self, check: Callable[[], bool], turn: float = 0.0) -> None:
        """Let the loop run, turning the clock a little each time, until check()."""
        async with asyncio.timeout(HANG_SECONDS):
            while not check():
                await asyncio.sleep(0.001)
                self.clock.advance(turn)

    def runs(self) -> int:
        """How often the program was started."""
        return len((self.tmp / "runs").read_text().split()) if (self.tmp / "runs").exists() else 0


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, request.param)
    made.task = asyncio.create_task(made.supervisor.run())
    yield made
    pid = made.supervisor.status().pid
    if pid:
        os.kill(pid, signal.SIGKILL)
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


def has_ended(pid: int) -> bool:
    """Also of our own child, which is a zombie until somebody waits for it."""
    try:
        start_ticks(pid)
    except ProcessLookupError:
        return True
    return False


FAILS = 'echo x >> "$(dirname "$0")/runs"; exit 3'
HANGS = 'echo x >> "$(dirname "$0")/runs"; exec sleep 1000'
DEAF = 'trap \'\' TERM; echo x >> "$(dirname "$0")/runs"; exec sleep 1000'  # exec keeps what is ignored


def started(tmp: Path, group: Path) -> EnvoySupervisor:
    return EnvoySupervisor(Path("/bin/true"), tmp, "node1", tmp / "xds.sock", group, jitter=lambda: 0.0)


async def test_envoys_group_is_bounded_and_its_heap_does_not_shrink_with_that_bound(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").touch()
    (tmp_path / "memory.max").write_text(str(4 << 30))
    (group / "memory.max").write_text("max")
    for _ in range(2):
        supervisor = started(tmp_path, group)
        await supervisor.take_over()
        assert supervisor.status().memory_max == int((group / "memory.max").read_text()) == (1024 + 512 + 256) << 20


async def test_a_hierarchy_without_the_controller_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").touch()
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    supervisor = started(tmp_path, group)
    with caplog.at_level("INFO"):
        await supervisor.take_over()
    assert supervisor.status().memory_max == 0
    (line,) = (record.message for record in caplog.records if "bound" in record.message)
    assert line == "envoy's cgroup has no bound of memory: this cgroup v2 hierarchy has no memory controller here"


@pytest.mark.parametrize("bench", [FAILS], indirect=True)
async def test_a_program_that_ends_is_started_again_at_ever_longer_intervals(bench: Bench) -> None:
    status = bench.supervisor.status
    for attempt, delay in enumerate([0.1, 0.2, 0.4], start=1):
        await bench.until(lambda n=attempt: status().restarts == n and status().state == ProgramState.WAITING)  # type: ignore[misc]
        assert (bench.runs(), status().last_exit, status().pid) == (attempt, "exit code 3", 0)
        await bench.until(lambda: len(bench.clock.waiting()) == 1)
        assert bench.clock.waiting() == [pytest.approx(delay)]
        bench.clock.advance(delay)


@pytest.mark.parametrize("bench", [HANGS], indirect=True)
async def test_a_silent_program_is_killed_and_replaced(bench: Bench) -> None:
    status = bench.supervisor.status
    await bench.until(lambda: bench.runs() == 1)
    began = bench.clock.monotonic()
    await bench.until(lambda: status().restarts == 1, turn=0.5)
    assert status().last_exit == "signal SIGKILL (killed by the agent: silent for 30 s)"
    assert bench.clock.monotonic() - began >= HUNG_SECONDS


@pytest.mark.parametrize("bench", [HANGS], indirect=True)
async def test_a_cancelled_supervisor_leaves_the_program_alone(bench: Bench) -> None:
    await bench.until(lambda: bench.runs() == 1)
    pid = bench.supervisor.status().pid
    assert bench.task is not None
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    os.kill(pid, 0)


@pytest.mark.parametrize("bench", [HANGS], indirect=True)
@pytest.mark.parametrize(("more", "adopts"), [("", True), ("# another version", False)])
async def test_the_same_program_in_another_file_is_the_same_and_goes_on(bench: Bench, more: str, adopts: bool) -> None:
    """As in the next container, or after a package was installed anew: another inode and another time."""
    await bench.until(lambda: bench.runs() == 1)
    pid = bench.supervisor.status().pid
    assert bench.task is not None
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    (bench.cgroup / "cgroup.procs").write_text(f"{pid}\n")
    new = bench.tmp / "new"
    new.write_text(bench.binary.read_text() + more)
    new.chmod(0o755)
    new.replace(bench.binary)
    os.utime(bench.binary, (1, 1))
    other = EnvoySupervisor(bench.binary, bench.tmp, "node1", bench.tmp / "xds.sock", bench.cgroup, 1, bench.clock)
    await asyncio.wait_for(other.take_over(), HANG_SECONDS)
    assert (other.status().pid, other.status().adopted) == ((pid, True) if adopts else (0, False))


@pytest.mark.parametrize("bench", [HANGS], indirect=True)
async def test_the_next_agent_ends_a_program_with_other_settings_before_it_lets_anyone_in(bench: Bench) -> None:
    """The ADS server listens once take_over() returned: an old Envoy must not answer there for the new one."""
    await bench.until(lambda: bench.runs() == 1)
    pid = bench.supervisor.status().pid
    assert bench.task is not None
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    (bench.cgroup / "cgroup.procs").write_text(f"{pid}\n")
    other = EnvoySupervisor(bench.binary, bench.tmp, "renamed", bench.tmp / "xds.sock", bench.cgroup, 1, bench.clock)
    await asyncio.wait_for(other.take_over(), HANG_SECONDS)
    assert has_ended(pid)
    assert (bench.runs(), other.status().pid) == (1, 0), "the next one is started by run()"


@pytest.mark.parametrize("bench", [DEAF], indirect=True)
async def test_a_program_that_ignores_sigterm_is_killed_at_the_deadline(bench: Bench) -> None:
    await bench.until(lambda: bench.runs() == 1)
    pid = bench.supervisor.status().pid
    stopping = asyncio.create_task(bench.supervisor.stop(0))
    await bench.until(lambda: bench.supervisor.status().state == ProgramState.STOPPING)
    await bench.until(lambda: pytest.approx(TERM_SECONDS) in bench.clock.waiting())
    os.kill(pid, 0)
    bench.clock.advance(TERM_SECONDS)
    (bench.cgroup / "cgroup.procs").unlink()  # a real cgroup directory has no files to remove
    await asyncio.wait_for(stopping, HANG_SECONDS)
    assert bench.supervisor.status().state == ProgramState.STOPPED
    assert not (bench.tmp / "envoy/pid").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("bench", [HANGS], indirect=True)
async def test_what_it_writes_is_private(bench: Bench) -> None:
    await bench.until(lambda: bench.runs() == 1)
    directory = bench.tmp / "envoy"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in ("bootstrap.json", "pid")} == {0o600}


async def test_a_missing_binary_is_fatal_with_a_remedy(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "exit 0")
    bench.binary.chmod(0o644)
    with pytest.raises(Fatal, match="make setup"):
        await bench.supervisor.run()


async def test_stopping_what_never_ran_returns(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "exit 0")
    (bench.cgroup / "cgroup.procs").unlink()
    await asyncio.wait_for(bench.supervisor.stop(0), HANG_SECONDS)


def test_a_directory_that_is_no_cgroup_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="not on a cgroup v2"):
        Cgroup(tmp_path / "plain").create()


def test_a_process_outside_our_pid_namespace_is_never_killed(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("0\n")
    assert Cgroup(tmp_path).kill_others() == []


def test_logs_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "envoy.log"
    for life in range(6):
        rotate(log, 3)
        log.write_text(str(life))
    assert [
        (tmp_path / name).read_text() for name in ("envoy.log", "envoy.log.1", "envoy.log.2", "envoy.log.3")
    ] == list("5432")
    assert len(list(tmp_path.iterdir())) == 4
