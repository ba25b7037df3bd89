"""What a lab makes, `lab down` takes away; and nothing of ours ever touches the packet filters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, Lab

NAME = "leave"


def footprint() -> dict[str, set[str]]:
    """Everything of the kernel and the file system that lab NAME could leave behind; other labs may be running."""

    def lines(*command: str) -> set[str]:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    def named(paths: Iterable[Path]) -> set[str]:
        return {str(path) for path in paths if NAME in str(path)}

    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroup2 = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
    return {
        "netns": named(Path("/run/netns").glob("*")),
        "mounts": {line.split()[4] for line in mounts if NAME in line},
        "links": {line.split(":")[1].strip() for line in lines("ip", "-o", "link")},
        "rules": lines("ip", "rule") | lines("ip", "-6", "rule"),
        "cgroups": named(p for p in Path(cgroup2).rglob("*") if p.is_dir()),
        "pins": named(Path("/sys/fs/bpf").rglob("*")),
        "run": named(Path("/run").glob("tidegate*/*")),
        "processes": {p.parent.name for p in Path("/proc").glob("[0-9]*/cmdline") if _is_of_the_lab(p)},
    }


def _is_of_the_lab(cmdline: Path) -> bool:
    text = _read(cmdline) + _read(cmdline.with_name("cgroup")) + _read(cmdline.with_name("environ"))
    return f"tidegate-lab/{NAME}".encode() in text or f"tidegate/{NAME}/".encode() in text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("end", ["down", "down after kill -9 of everything"])
def test_down_leaves_nothing(end: str) -> None:
    before = footprint()
    lab = Lab(NAME)
    lab.up(MANIFESTS / "probe.yaml", nodes=2)
    up = footprint()
    assert all(up[kind] > before[kind] for kind in ("netns", "cgroups", "pins", "run", "processes"))
    if end != "down":
        for pid in up["processes"] - before["processes"]:
            with contextlib.suppress(ProcessLookupError):  # it was a child of one that is gone already
                os.kill(int(pid), signal.SIGKILL)
    lab.down()

    def left() -> dict[str, set[str]]:
        return {kind: found - before[kind] for kind, found in footprint().items() if found - before[kind]}

    eventually(lambda: not left(), "nothing is left")


def test_no_packet_filter_rule_exists_anywhere(probe_lab: Lab) -> None:
    for command in (["iptables-save"], ["ip6tables-save"], ["nft", "list", "ruleset"]):
        for where in ([], ["ip", "netns", "exec"]):
            places = [p.name for p in Path("/run/netns").iterdir()] if where else [""]
            for place in places:
                done = subprocess.run(
                    [*where, *([place] if place else []), *command], capture_output=True, text=True, check=True
                )
                rules = [line for line in done.stdout.splitlines() if line.startswith("-A")]
                assert not rules, f"{command} in {place or 'the root netns'}: {rules}"
                if command[0] == "nft":
                    assert not done.stdout.strip()
