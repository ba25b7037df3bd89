"""An explanation for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.model.net import host_port


def render(explanation: Mapping[str, Any]) -> str:
    """Text of what Explanation.as_json() gave; the answer first, then how it came about."""
    e = explanation
    lines = [
        f"{e['source']} -> {host_port(e['host'], e['port'])}"
        + (f" ({e['address']})" if e["address"] not in ("", e["host"]) else ""),
        f"  verdict      {e['verdict']}: {e['reason']}",
        f"  tier         {e['tier']}",
    ]
    if rule := e["rule"]:
        index = "" if rule.get("index") is None else f", {rule['routes']}[{rule['index']}]"
        name = rule.get("route", "")
        named = f" {name}" if name and "[" not in name else ""
        lines.append(f"  rule         {rule['kind']} {rule['namespace']}/{rule['name']}{index}{named}")
        lines.append(f"               {rule['file']}:{rule['line']}")
    for key, value in e["action"].items():
        lines.append(f"  {key:<12} {_text(value)}")
    for d in e["destinations"]:
        subset = f" subset {d['subset']}" if d["subset"] else ""
        lines.append(f"  destination  {d['percent']:g} % {d['host']}:{d['port']}{subset}")
    for p in e["endpoints"]:
        notes = " ".join(t for t in (p["pod"], p["subset"]) if t)
        lines.append(f"  endpoint     {host_port(p['address'], p['port'])} {notes}".rstrip())
    for p in e["policies"]:
        lines.append(f"  policy       {p['kind']} {p['namespace']}/{p['name']} {p['file']}:{p['line']}")
    lines.append(f"  tls          {e['tls']}")
    lines.append("how it came about")
    width = max((len(h["step"]) for h in e["hops"]), default=0)
    lines.extend(f"  {n}. {h['step']:<{width}}  {h['result']}" for n, h in enumerate(e["hops"], 1))
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
