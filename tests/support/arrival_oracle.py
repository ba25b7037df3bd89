"""Where a connection that comes to a pod goes first, in Python: the kernel's bpf/core/flow_core.h says the same."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any


def decide(case: dict[str, Any]) -> str | None:
    """The verdict about a case of tests/vectors/arrivals; None: the application's, and nobody counts it."""
    if any(ip_address(case[end]).is_loopback for end in ("remote", "local")):
        return None
    probe = case["probed"] and case["node"] != 0 and case["caller"] == case["node"]
    if case["guarded"] and case["caller"] != case["own"] and not probe:
        return "lookup_guarded"
    if case["inbound"]:
        return "lookup_inbound"
    return "lookup_probe" if case["guarded"] and probe else None
