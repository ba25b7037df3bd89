"""What a lab makes, `lab down` takes away; and nothing of ours ever touches the packet filters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.footprint import footprint, left
from tests.support.lab import MANIFESTS, Lab

NAME = "leave"


@pytest.mark.parametrize("end", ["down", "down after kill -9 of everything"])
def test_down_leaves_nothing(end: str) -> None:
    before = footprint(NAME)
    lab = Lab(NAME)
    lab.up(MANIFESTS / "probe.yaml", nodes=2)
    up = footprint(NAME)
    assert all(up[kind] > before[kind] for kind in ("netns", "cgroups", "pins", "run", "processes"))
    if end != "down":
        for pid in up["processes"] - before["processes"]:
            with contextlib.suppress(ProcessLookupError):  # it was a child of one that is gone already
                os.kill(int(pid), signal.SIGKILL)
    lab.down()

    eventually(lambda: not left(before, footprint(NAME)), "nothing is left")


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
