"""The agent is killed, restarted, upgraded, or away; the relay is upgraded: no connection notices, old or new.

A node of its own (tests/bench/scale_rig.py), because here the test decides when an agent runs and what it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.scale_rig import ROOT, Rig, netns
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.rig import node, well

HELD = 2000
URLS = {"tcp": (config.TCP_VIP, config.TCP_PORT, "plain"), "http": (config.vip(0), config.PORT, config.host(0))}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with node() as made:
        yield made


class Held:
    """tests/support/held.py as a process of pod 0."""

    def __init__(self, rig: Rig, tier: str, held: int) -> None:
        self.count = held
        enter = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
        command = ["sh", "-c", enter, str(rig.cgroup / "pods" / "0"), "nsenter", f"--net=/run/netns/{netns(0)}", "--"]
        command += ["/usr/bin/python3", str(ROOT / "tests" / "support" / "held.py"), *map(str, URLS[tier])]
        self._process = subprocess.Popen(
            [*command, "--held", str(held)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.strip())

    def opened(self) -> int:
        """How many new connections were served so far."""
        assert self._process.poll() is None, self._said[-5:]
        return max([0, *(int(found[1]) for line in self._said if (found := re.fullmatch(r"opened (\d+)", line)))])

    def goes_on(self) -> None:
        """Until another hundred new connections were served."""
        before = self.opened()
        eventually(lambda: self.opened() >= before + 100, f"new connections are served; the client: {self._said[-5:]}")

    def stop(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        with self._process.stdout, self._process.stderr:
            out = self._process.stdout.read()
            self._process.wait(HANG_SECONDS)
            self._reader.join(HANG_SECONDS)
        value: dict[str, Any] = json.loads(out)
        return value


@contextlib.contextmanager
def nothing_lost(rig: Rig, tier: str, held: int = HELD) -> Iterator[Held]:
    """Connections held, made and used while something happens: each round trip has to succeed."""
    load = Held(rig, tier, held)
    try:
        load.goes_on()
        yield load
        load.goes_on()
    finally:
        got = load.stop()
    assert got["failed"] == []
    assert (got["held"], got["right"]) == (held, held)
    assert got["pings"] > 0


def away(rig: Rig, load: Held, number: signal.Signals, **environ: str) -> dict[str, Any]:
    """The agent ends; connections go on without one; another comes."""
    before = rig.status()["agent"]["pid"]
    rig.stop_agent(number)
    load.goes_on()
    rig.start_agent(**environ)
    return well(rig, but=before)


@pytest.mark.case("E9")
@pytest.mark.parametrize("tier", list(URLS))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "restart"])
def test_no_connection_notices_that_the_agent_is_away(rig: Rig, tier: str, number: signal.Signals) -> None:
    envoy = rig.status()["envoy"]["pid"]
    with nothing_lost(rig, tier) as load:
        after = away(rig, load, number)
    assert after["envoy"]["pid"] == envoy, "Envoy was adopted"
    assert after["kernel"]["adopted"]


@pytest.fixture
def other_version(tmp_path: Path) -> dict[str, str]:
    """Environment of an agent that was installed elsewhere and calls itself another version."""
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "agent" / "tidegate" / "__init__.py"
    module.write_text(re.sub(r'__version__ = "[^"]*"', '__version__ = "9.9.9"', module.read_text()))
    return {"PYTHONPATH": str(tmp_path / "agent"), "TIDEGATE_BUILD": str(ROOT / "build")}


@pytest.mark.parametrize("tier", list(URLS))
def test_no_connection_notices_that_the_agent_is_upgraded(rig: Rig, tier: str, other_version: dict[str, str]) -> None:
    with nothing_lost(rig, tier) as load:
        assert away(rig, load, signal.SIGTERM, **other_version)["version"] == "9.9.9"
        assert away(rig, load, signal.SIGTERM)["version"] != "9.9.9"


@pytest.fixture
def other_relay(tmp_path: Path) -> str:
    """The relay's program with another content: what an upgrade brings."""
    copy = tmp_path / "tidegate-relay"
    shutil.copy2(ROOT / "build" / "relay" / "tidegate-relay", copy)
    with copy.open("ab") as file:
        file.write(b"another version")
    return str(copy)


def test_an_upgraded_relay_refuses_nobody_and_the_old_one_ends_when_it_is_no_longer_needed(
    rig: Rig, other_relay: str
) -> None:
    (old,) = rig.pids("tidegate-relay")
    with nothing_lost(rig, "tcp") as load:
        away(rig, load, signal.SIGTERM, TIDEGATE_RELAY=other_relay)
        relays = set(rig.pids("tidegate-relay"))
        assert old in relays, "it has connections"
        assert len(relays) == 2
    eventually(lambda: old not in rig.pids("tidegate-relay"), "the old relay ends with its last connection")
    before = rig.status()["agent"]["pid"]
    rig.stop_agent()
    rig.start_agent()  # the relay that belongs to this checkout again
    well(rig, but=before)
