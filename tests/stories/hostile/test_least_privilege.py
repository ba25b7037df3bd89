"""What the live agent and its Envoy may do, read from /proc, and that everything still works with so little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.bpf.pod import connect, run_in
from tests.support.cgroup import members
from tests.support.ended import kill
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, TIDEGATE, Lab

from tidegate.bpf.records import PodRow
from tidegate.bpf.tables import Tables
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.linux.netns import netns_cookie
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier

DAC_READ_SEARCH, SETPCAP, NET_ADMIN, SYS_ADMIN = 1 << 2, 1 << 8, 1 << 12, 1 << 21
AGENT = DAC_READ_SEARCH | SETPCAP | NET_ADMIN | SYS_ADMIN
SETS = ("CapPrm", "CapEff", "CapBnd")

LATE_POD = """
apiVersion: v1
kind: Pod
metadata: { name: late }
spec:
  containers:
    - { name: c, command: ["/bin/sleep", "infinity"] }
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("least")
    lab.up(MANIFESTS / "web.yaml", MANIFESTS / "probe.yaml")
    yield lab
    lab.down()


def threads(pid: int) -> dict[str, set[tuple[int, ...]]]:
    """Thread name -> its capability sets (SETS), for every thread of a process; each has no way to gain more."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue  # has ended
        assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
        assert status["NoNewPrivs"] == "1"
        found.setdefault(status["Name"], set()).add(tuple(int(status[name], 16) for name in SETS))
    return found


def confined(lab: Lab) -> None:
    """Assert that agent, workers and Envoy hold what they need and nothing else, and that status says so."""
    status = eventually(lambda: (s := lab.status())["healthy"] and s, "healthy")
    agent = threads(status["agent"]["pid"])
    relay = threads(status["relay"]["pid"])
    assert "tg-fastpath" in relay, "the relay's workers were looked at too"
    assert set().union(*relay.values()) == {(SYS_ADMIN,) * 3}
    assert set().union(*agent.values()) == {(AGENT,) * 3}
    envoy = threads(status["envoy"]["pid"])
    assert {name for name in envoy if name.startswith("wrk:")}, "Envoy's workers were looked at too"
    assert set().union(*envoy.values()) == {(SYS_ADMIN,) * 3}
    names = {"CAP_DAC_READ_SEARCH", "CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"}
    assert set(status["agent"]["capabilities"]) == names
    assert status["envoy"]["capabilities"] == status["relay"]["capabilities"] == ["CAP_SYS_ADMIN"]


def served(lab: Lab, pod: str = "client") -> None:
    eventually(lambda: lab.ask(pod, "http://web/")["status"] == 200, "HTTP is served")
    eventually(lambda: "error" not in lab.probe(pod, "dial", "talk", "7000"), "TCP is relayed")


def test_little_is_held_and_everything_works(lab: Lab) -> None:
    confined(lab)
    served(lab)

    before = lab.status()
    kill(before["agent"]["pid"])
    eventually(lambda: lab.status()["agent"]["pid"] != before["agent"]["pid"], "another agent")
    confined(lab)
    served(lab)
    assert lab.status()["envoy"]["pid"] == before["envoy"]["pid"], "adopted"

    kill(before["envoy"]["pid"])
    eventually(lambda: lab.status()["envoy"]["pid"] not in (0, before["envoy"]["pid"]), "another Envoy")
    confined(lab)
    served(lab)

    lab.apply(LATE_POD)
    eventually(lambda: lab.pods()["default/late"]["enrolled"], "the lab has heard that it is enrolled")
    served(lab, "late")
    lab.delete(lab.run_dir / "applied-by-test.yaml")
    eventually(lambda: "late" not in {p["name"] for p in lab.status()["pods"]}, "the pod is released")


def harmless_agent(directory: Path) -> list[str | Path]:
    """An agent that cannot attach anything should the guard under test let it through: its pods' cgroup is none."""
    places: list[str | Path] = [
        "--run-dir",
        directory / "run",
        "--cgroup",
        directory,
        "--bpffs",
        "/sys/fs/bpf/tidegate/least-no-agent",
    ]
    return [TIDEGATE, "agent", "--node", "least-no-agent", "--config", f"file:{directory}", *places]


def made_a_group() -> bool:
    """Who starts in the root cgroup makes one for Envoy, and may not remove it."""
    return (cgroup2_mount() / "tidegate-least-no-agent").exists()


@pytest.mark.parametrize(
    ("capability", "purpose"), [("net_admin", "hooks"), ("sys_admin", "namespaces"), ("setpcap", "Envoy")]
)
def test_a_missing_capability_is_named(tmp_path: Path, capability: str, purpose: str) -> None:
    limited = ["setpriv", f"--bounding-set=-{capability}", "--inh-caps=-all"]
    done = subprocess.run(
        [*limited, *harmless_agent(tmp_path)], capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert done.returncode == 4
    assert f"CAP_{capability.upper()}" in done.stderr
    assert purpose in done.stderr
    assert not made_a_group()


def test_a_run_directory_of_everybody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    done = subprocess.run(harmless_agent(tmp_path), capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 1
    assert "others may write into it" in done.stderr
    assert not made_a_group()


START_IN_ROOT = 'ip link set lo up && echo 0 > "$0/cgroup.procs" && exec "$@"'


@contextmanager
def agent_in_root(directory: Path, *more: str) -> Iterator[tuple[Path, Path]]:
    """An agent that is started in the hierarchy's root: the group that it makes for itself, and its pins."""
    root = cgroup2_mount()
    (directory / "config").mkdir()
    home, pins = root / "tidegate-inroot", Path("/sys/fs/bpf/tidegate-inroot")
    command = [sys.executable, "-m", "tidegate", "agent", "--node", "inroot", "--config", f"file:{directory}/config"]
    command += ["--run-dir", str(directory), "--bpffs", str(pins), "--drain-seconds", "0", *more]
    with (directory / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", START_IN_ROOT, str(root), *command], stdout=log, stderr=log
        )
    try:
        status = [str(TIDEGATE), "status", "--run-dir", str(directory)]
        eventually(
            lambda: (
                agent.poll() is not None or subprocess.run(status, capture_output=True, check=False).returncode == 0
            ),
            "the agent is well or gone",
        )
        assert agent.poll() is None, (directory / "agent.log").read_text()
        yield home, pins
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(HANG_SECONDS)
        subprocess.run([*command, "--end"], check=True, timeout=HANG_SECONDS)
        home.rmdir()
        assert not pins.exists()


def test_an_agent_in_the_root_cgroup_makes_one_for_envoy(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The hierarchy's root has mode 0555, so it must be made before root's capabilities are given up."""
    pods = cgroup2_mount() / "tidegate-inroot-pods"
    pods.mkdir()
    try:
        with agent_in_root(tmp_path_factory.mktemp("r"), "--cgroup", str(pods)) as (home, _):
            assert members(home / "envoy")
            assert members(home / "relay")
    finally:
        pods.rmdir()


@pytest.mark.case("E4")
def test_a_client_in_the_same_cgroup_as_the_agent_is_captured(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exempt is the group that the agent makes for its relay, never the one that it found itself in."""
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && ip route add default dev lo && echo && cat"]
    with (
        agent_in_root(tmp_path_factory.mktemp("r")) as (_, pins),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pod,
    ):
        assert pod.stdin is not None
        assert pod.stdout is not None
        pod.stdout.readline()
        netns, tables = os.open(f"/proc/{pod.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), Tables(pins / "maps")
        try:
            tables.set_pod(netns_cookie(netns), PodRow(ip4=ip_address("10.77.0.1")))
            tables.set_destinations([Destination(ip_address("10.96.0.10"), 80, Tier.REFUSE, 7)])
            dialled = run_in(cgroup2_mount(), netns, lambda: connect("10.96.0.10", 80))
            dialled.close()
            assert dialled.failed == "ECONNREFUSED"
            assert tables.counters()["deny_no_endpoint"] == 1
        finally:
            tables.close()
            os.close(netns)
            pod.stdin.close()
