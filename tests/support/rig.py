"""A node without a lab for stories in which the test decides what the agent meets (tests/bench/scale_rig.py)."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from tests.bench import scale_config as config
from tests.bench.processes import BenchError
from tests.bench.scale_rig import Rig, netns
from tests.support.eventually import HANG_SECONDS


@contextlib.contextmanager
def node(**environ: str) -> Iterator[Rig]:
    """Five pods enrolled, five to spare, twenty services; nothing is left. environ: more of the agent's environment."""
    rig = Rig(config.FEW, give_up=HANG_SECONDS)
    try:
        rig.up()
        rig.start_agent(**environ)
        rig.wait("the agent comes up", lambda status: status)
        rig.enrol()
        well(rig)
        yield rig
    finally:
        rig.down()


def well(rig: Rig, but: int = 0) -> dict[str, Any]:
    """Until an agent is well; but: not the one with this pid."""

    def reached(status: dict[str, Any]) -> bool:
        applied = status["applied"]["generation"] > 0 and status["agent"]["pid"] != but
        enrolled = sum(bool(pod["enrolled"]) for pod in status["pods"])
        return bool(status["healthy"] and applied and enrolled >= rig.size.pods)

    return rig.wait("an agent is well", reached)[1]


@contextlib.contextmanager
def stays_ready(rig: Rig) -> Iterator[None]:
    """Asks the readiness probe all the while; each answer has to be 200."""
    done = threading.Event()
    answers: list[int | str] = []

    def ask() -> None:
        while not done.is_set() or not answers:
            try:
                answers.append(rig.ready())
            except BenchError as error:
                answers.append(str(error))
            done.wait(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()
    assert set(answers) == {200}


def change(rig: Rig, number: int, value: int) -> None:
    """Change the rule of a service, and see that on the wire from pod 0."""
    watcher = rig.watcher()
    url = [config.vip(number), config.PORT, config.host(number)]
    watcher.tell(do="until", url=url, header=config.CHANGED, value=str(value))
    watcher.answer()
    config.put(rig.work / "config", number, value)
    watcher.answer()


@contextlib.contextmanager
def full(number: int) -> Iterator[None]:
    """A pod that cannot be captured: 127.0.0.0/8 is not its own, so nothing of ours can listen in it."""
    route = ["local", "127.0.0.0/8", "dev", "lo", "table", "local"]
    inside = ["ip", "-n", netns(number), "route"]
    subprocess.run([*inside, "delete", *route], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "add", *route, "src", "127.0.0.1"], check=True)
