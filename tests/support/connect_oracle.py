"""Cases of tests/vectors/connect, answered by the oracle of the connect hook (compile/explain/oracle.py)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from tidegate.compile.explain import oracle
from tidegate.model.workload import Capture

EXEMPT, OF_DNS = {11, 12}, 13  # cgroups of the agent and Envoy, and of the node's DNS, in every vector


def decide(case: dict[str, Any]) -> dict[str, Any]:
    """The `expect` of a case."""
    dest = case["dest"]
    elsewhere = bool(case.get("elsewhere", False))
    decision = oracle.decide(_call(case), _captured(case["pod"]), dest and dest["tier"], elsewhere)
    out = {"action": decision.action.value, "reason": decision.reason}
    if decision.action is not oracle.Action.REDIRECT:
        return out
    flow: dict[str, Any] = {
        "dst": str(ip_address(case["dst"])),
        "port": case["port"],
        "client": str(decision.client) if decision.client else None,
        "tier": dest["tier"],
        "service": dest["service"],
    }
    if elsewhere:
        flow["elsewhere"] = True
    elif case.get("range"):
        flow["range"] = True
    return {**out, "to": str(decision.to), "to_port": decision.to_port, "flow": flow}


def is_question(case: dict[str, Any]) -> bool:
    """The `expect` of a case of tests/vectors/questions. v6_capture: None = no enrolled pod."""
    call = oracle.Call(
        address=ip_address(case["dst"]),
        port=case["port"],
        protocol=case["protocol"],
        exempt=case["cgroup"] in EXEMPT,
        of_dns=case["cgroup"] == OF_DNS,
        bound_device=bool(case["device"]),
    )
    v6 = case["v6_capture"]
    return oracle.is_question(call, None if v6 is None else oracle.Captured(None, None, Capture(), v6))


def destination_keys(case: dict[str, Any]) -> list[list[Any]]:
    """Which rows of tg_dests decide about a case, the more specific one first: address, port (0 = any), protocol,
    scope."""
    scope = (case["pod"] or {}).get("scope", 0)
    return [[str(address), *rest] for address, *rest in oracle.rows(_call(case), scope)]


def _call(case: dict[str, Any]) -> oracle.Call:
    return oracle.Call(
        address=ip_address(case["dst"]),
        port=case["port"],
        protocol=case["protocol"],
        exempt=case["cgroup"] in EXEMPT,
        bound_device=bool(case["device"]),
        bound=_address(case["bound"]),
        spread=bool(case.get("spread", False)),
    )


def _captured(pod: dict[str, Any] | None) -> oracle.Captured | None:
    if pod is None:
        return None
    capture = Capture(pod["fastpath4"], pod["fastpath6"], pod["envoy4"], pod["envoy6"])
    return oracle.Captured(
        _address(pod["ip4"]), _address(pod["ip6"]), capture, pod["v6_capture"], pod.get("registry_only", False)
    )


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    return ip_address(text) if text is not None else None
