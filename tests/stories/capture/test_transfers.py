"""Bytes through the fast path: exact, both ways, whatever the ends do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize("size", [64 * KIB, 8 * MIB, 1 << 30], ids=["64KiB", "8MiB", "1GiB"])
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_transfers_are_byte_exact_and_half_close_works(probe_lab: Lab, direction: str, size: int) -> None:
    seen = probe_lab.probe("client", direction, "talk", "7000", "--size", str(size))
    if direction == "upload":
        assert seen["server"] == {"bytes": size, "sha256": seen["sha256"]}
    else:
        assert seen == {"bytes": size, "equal": True}


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_slow_reader_holds_the_sender_not_our_memory(probe_lab: Lab, direction: str) -> None:
    before = agent_rss(probe_lab)
    seen = probe_lab.probe("client", direction, "talk", "7000", "--size", str(64 * MIB), "--pause", "0.001")
    assert (seen["server"]["bytes"] if direction == "upload" else seen["bytes"]) == 64 * MIB
    assert agent_rss(probe_lab) - before < 16 * MIB


def test_reset_of_the_server_reaches_the_client(probe_lab: Lab) -> None:
    before = probe_lab.metric("tidegate_fastpath_closed_total", reason="server_reset")
    assert probe_lab.probe("client", "reset", "talk", "7000") == {"saw": "reset"}
    eventually(
        lambda: probe_lab.metric("tidegate_fastpath_closed_total", reason="server_reset") == before + 1,
        "the reset is counted",
    )


def test_two_thousand_connections_at_once_in_bounded_memory(probe_lab: Lab) -> None:
    before = agent_rss(probe_lab)
    assert probe_lab.probe("client", "hold", "talk", "7000", "--count", "2000") == {"opened": 2000, "right": 2000}
    assert agent_rss(probe_lab) - before < 64 * MIB
    eventually(lambda: probe_lab.status()["kernel"]["flows"] == 0, "flow records go with their sockets")


def agent_rss(lab: Lab) -> int:
    """Resident bytes of the agent of the first node."""
    pid = lab.status()["agent"]["pid"]
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * KIB
