"""What a lab makes, `lab down` takes away; and nothing of ours ever touches the packet filters."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, Lab


def footprint() -> dict[str, set[str]]:
    """Everything of the kernel and the file system that a lab could leave behind."""

    def out(*command: str) -> set[str]:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    mount = next(
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line
    )
    objects = (
        out("bpftool", "-j", "link", "list")
        | out("bpftool", "-j", "prog", "list")
        | out("bpftool", "-j", "map", "list")
    )
    return {
        "netns": {p.name for p in Path("/run/netns").iterdir()} if Path("/run/netns").is_dir() else set(),
        "links": {line.split(":")[1].strip() for line in out("ip", "-o", "link")},
        "rules": out("ip", "rule") | out("ip", "-6", "rule"),
        "cgroups": {str(p) for p in Path(mount).rglob("*") if p.is_dir()},
        "bpf": {"objects"} if any("tg_" in line for line in objects) else set(),
        "pins": {str(p) for p in Path("/sys/fs/bpf").rglob("*")},
        "run": {str(p) for p in Path("/run").glob("tidegate*/*")},
        "processes": {
            p.parent.name
            for p in Path("/proc").glob("[0-9]*/cmdline")
            if (text := _read(p))
            and (b"tidegate.lab" in text or b"tidegate agent" in text.replace(b"\0", b" ") or b"/envoy\0" in text)
        },
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("end", ["down", "down after kill -9 of everything"])
def test_down_leaves_nothing(end: str) -> None:
    before = footprint()
    lab = Lab("leave")
    lab.up(MANIFESTS / "probe.yaml", nodes=2)
    assert footprint() != before
    if end != "down":
        for pid in footprint()["processes"] - before["processes"]:
            os.kill(int(pid), signal.SIGKILL)
    lab.down()
    after = eventually(lambda: (f := footprint()) == before and f, f"same as before: {_new(before)}", timeout=10)
    assert after == before


def _new(before: dict[str, set[str]]) -> dict[str, set[str]]:
    return {key: value - before[key] for key, value in footprint().items() if value - before[key]}


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
