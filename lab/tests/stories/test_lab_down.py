"""Labs come and go: several at a time, killed ones, and stale leftovers do not confuse each other."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, Lab

PLAIN = MANIFESTS / "plain.yaml"


def traces(lab: Lab) -> list[str]:
    """Everything with the lab's name on it, and processes of its cgroups."""
    prefix = f"tgl-{lab.name}-"
    found = [str(path) for path in Path("/run/netns").glob("*") if path.name.startswith(prefix)]
    found += [str(path) for path in Path("/sys/fs/bpf/tidegate").glob(f"{lab.name}-*")]
    found += [str(path) for path in (lab.run_dir,) if path.exists()]
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            found += [str(p) for p in (Path(line.split()[4]) / "tidegate" / lab.name,) if p.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/tidegate/{lab.name}/" in (process / "cgroup").read_text():
                found.append(str(process))
            if f"lab.daemon\0--name\0{lab.name}\0" in (process / "cmdline").read_text():
                found.append(str(process))
        except OSError:
            continue
    return found


def gone(lab: Lab) -> bool:
    """Nothing of the lab is left, but for processes that init has yet to reap."""
    eventually(lambda: not traces(lab), f"no trace of the lab; there were {traces(lab)}")
    return True


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab("mayfly")
    yield made
    made.down()


def kill_labd(lab: Lab) -> None:
    pid = int((lab.run_dir / "labd.pid").read_text())
    kill(pid)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_down_leaves_nothing(lab: Lab) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    assert traces(lab)
    lab.down()
    assert gone(lab)
    lab.down()


def test_down_leaves_nothing_of_a_lab_whose_labd_was_killed(lab: Lab) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    kill_labd(lab)
    assert any(path.startswith("/proc/") for path in traces(lab)), "the pods went on"
    done = lab.tidegate("lab", "pods", check=False)
    assert (done.returncode, "labd, which ran it, has ended" in done.stderr) == (3, True), done.stderr
    lab.down()
    assert gone(lab)


def test_down_needs_no_answer_of_a_labd_that_is_stopped(lab: Lab) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    os.kill(int((lab.run_dir / "labd.pid").read_text()), signal.SIGSTOP)
    lab.down()
    assert gone(lab)


def test_up_replaces_what_a_killed_lab_left(lab: Lab) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    kill_labd(lab)
    lab.up(PLAIN, nodes=2, mesh=False)
    assert lab.probe("two", "dial", "talk.default", "7001", namespace="shop")["server"]["client"] == "10.77.2.2"


def test_agents_without_labd_go_on_and_status_says_that_nobody_looks_after_them(lab: Lab) -> None:
    lab.up(PLAIN, nodes=2)
    kill_labd(lab)
    told = healthy(lab)
    assert "nobody looks after it" in told.stderr
    assert told.stdout.count(": healthy") == 2
    agent = lab.status()["agent"]["pid"]
    lab.up(PLAIN, nodes=2)
    assert not cmdline(agent), "its agents have gone with the old lab"
    assert {"default/one", "shop/two"} == {name for name, pod in lab.pods().items() if pod["ready"]}
    assert healthy(lab).stderr == ""


def healthy(lab: Lab) -> subprocess.CompletedProcess[str]:
    """What `tidegate status` says once all nodes are well, which they may not be at the very moment that pods are."""
    return eventually(lambda: (told := lab.tidegate("status", check=False)).returncode == 0 and told, "all are well")


def test_a_lab_that_cannot_start_says_why_and_leaves_nothing(lab: Lab) -> None:
    done = lab.tidegate("lab", "up", "-f", PLAIN.with_name("absent.yaml"), "--mesh", "off", check=False)
    assert (done.returncode, "no such file" in done.stderr) == (1, True)
    assert gone(lab)


@pytest.mark.parametrize("text", ["kind: VirtualService\n", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"])
def test_up_with_a_manifest_that_is_refused_leaves_no_lab(lab: Lab, tmp_path: Path, text: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    done = lab.tidegate("lab", "up", "-f", bad, "--mesh", "off", check=False)
    assert (done.returncode, f"{bad}:1" in done.stderr, "taken down again" in done.stderr) == (1, True, True)
    assert gone(lab)


def test_a_manifest_that_is_refused_leaves_a_running_lab_alone(lab: Lab, tmp_path: Path) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: VirtualService\n")
    done = lab.tidegate("lab", "up", "-f", bad, "--nodes", "2", "--mesh", "off", check=False)
    assert (done.returncode, lab.pods()["default/one"]["ready"]) == (1, True)


def test_up_again_applies_to_the_running_lab(lab: Lab) -> None:
    lab.up(nodes=1, mesh=False)
    pid = (lab.run_dir / "labd.pid").read_text()
    told = lab.tidegate("status", check=False)
    assert (told.returncode, "was it started with --mesh off?" in told.stderr) == (3, True), told.stderr
    lab.up(nodes=1, mesh=False)
    assert (lab.run_dir / "labd.pid").read_text() == pid
    other = lab.tidegate("lab", "up", "--nodes", "2", "--mesh", "off", check=False)
    assert (other.returncode, "is running with 1 nodes" in other.stderr) == (1, True)


def test_two_labs_do_not_know_each_other(lab: Lab, plain_lab: Lab) -> None:
    lab.up(PLAIN, nodes=2, mesh=False)
    assert lab.pods()["default/one"]["ip"] == plain_lab.pods()["default/one"]["ip"]
    for each in (lab, plain_lab):
        answer = each.probe("two", "dial", "talk.default", "7001", namespace="shop")
        assert answer["server"]["client"] == "10.77.2.2"
    lab.down()
    assert plain_lab.probe("two", "dial", "talk.default", "7001", namespace="shop")["server"]["client"] == "10.77.2.2"


@pytest.mark.parametrize("option", [("--acceleration", "on"), ("--capture", "tc")])
def test_what_is_not_built_is_refused_before_anything_starts(lab: Lab, option: tuple[str, str]) -> None:
    done = lab.tidegate("lab", "up", *option, check=False)
    assert (done.returncode, "built yet" in done.stderr) == (4, True)
    assert gone(lab)
