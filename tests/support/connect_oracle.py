"""What a connect() of a pod must become, said once more in Python, without a look at bpf/core/connect_core.h.

Cases are those of tests/vectors/connect: tests/unit/bpf runs them on this oracle, tests/bpf on the kernel program, and
tests/bpf also compares the two on random cases."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

CAPTURE4, CAPTURE6 = IPv4Network("127.77.0.0/24"), IPv6Network("fd74:6964:6567:6174::/64")
EXEMPT = {11, 12}  # cgroups of the agent and Envoy in every vector
TCP = 6
LISTENERS = {2: ("fastpath", 1, "redirect_fastpath"), 3: ("envoy", 2, "redirect_envoy")}


def decide(case: dict[str, Any]) -> dict[str, Any]:
    """The `expect` of a case."""
    pod, dest, dst = case["pod"], case["dest"], ip_address(case["dst"])
    if pod is None:
        return _pass("not_enrolled")
    if case["cgroup"] in EXEMPT:
        return _pass("exempt_cgroup")
    if case["protocol"] != TCP:
        return _pass("not_tcp")
    if is_capture(dst):
        return {"action": "deny", "reason": "deny_capture_address"}
    if dst.is_loopback or dst.is_unspecified:
        return _pass("loopback")
    if case["device"]:
        return _pass("bound_device")
    if dest is not None and dest["tier"] == 1:
        return _pass("workload")
    if dest is None or dest["tier"] not in LISTENERS:
        return _pass("unknown")
    if dst.version == 6 and not pod["v6_capture"]:
        return _pass("no_v6_capture")
    name, host, reason = LISTENERS[dest["tier"]]
    port = pod[f"{name}{dst.version}"]
    if not port:
        return _pass("no_listener")
    network = CAPTURE4 if dst.version == 4 else CAPTURE6
    return {
        "action": "redirect",
        "reason": reason,
        "to": str(network[host]),
        "to_port": port,
        "flow": {
            "dst": str(dst),
            "port": case["port"],
            "client": shown_client(case["bound"] if name == "fastpath" else None, dst, pod),
            "tier": dest["tier"],
            "service": dest["service"],
        },
    }


def destination_keys(case: dict[str, Any]) -> list[list[Any]]:
    """Which rows of tg_dests decide about a case, the more specific one first: address, port (0 = any), protocol."""
    return [[case["dst"], port, case["protocol"]] for port in (case["port"], 0)]


def shown_client(bound: str | None, dst: IPv4Address | IPv6Address, pod: dict[str, Any]) -> str | None:
    if bound is not None:
        address = ip_address(bound)
        if not (address.is_unspecified or address.is_loopback or is_capture(address)):
            return bound
    own: str | None = pod[f"ip{dst.version}"]
    return own


def is_capture(address: IPv4Address | IPv6Address) -> bool:
    return address in (CAPTURE4 if address.version == 4 else CAPTURE6)


def _pass(reason: str) -> dict[str, Any]:
    return {"action": "pass", "reason": f"pass_{reason}"}
