"""Publishes build/bench.json: its raw runs as docs/bench.json, its medians as the table of README.md.

What README claims can so be checked later and elsewhere: a unit test holds the table against the published runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.report import of_network

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "bench.json"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
COLUMNS = {
    "direct": "no mesh",
    "tidegate": "**Tidegate**",
    "envoy2_iptables": "two Envoys + iptables",
    "haproxy": "HAProxy (no interception)",
}
WORDS = {
    "l4.samenode.rr64": "round trip, 64 B",
    "l4.samenode.rr16k": "round trip, 16 KiB",
    "l4.samenode.bulk": "one bulk stream",
    "l4.samenode.conn": "new connections",
    "l7.p50": "HTTP 1 KiB, 1 connection, median",
    "l7.p99": "HTTP 1 KiB, 1 connection, p99",
    "l7.rps": "HTTP 1 KiB, 32 connections",
}
EDGE = {  # whom it is compared with, and what is promised
    "gateway.rps": ("HTTP 1 KiB through a gateway, 32 connections", "envoy_static", "≥ 0.95×"),
    "gateway.p50": ("1 connection, median", "envoy_static", "≤ 1.05×"),
    "gateway.p99": ("1 connection, p99", "envoy_static", "≤ 1.05×"),
    "tls.sni.conn": ("new connections, each to the server whose name its ClientHello has", "haproxy", "≥ 1.0×"),
}
OTHERS = {"envoy_static": "Envoy, a file by hand", "haproxy": "HAProxy"}
SIZES = {"1k": "1 000 services", "10k": "10 000 services"}
SCALE = {
    "change_ms": ("a VirtualService change, file to wire", {"1k": "≤ 200 ms", "10k": "≤ 500 ms"}),
    "enrol_p99_ms": ("CNI ADD, p99", {"1k": "≤ 100 ms"}),
    "cold_s": ("agent's start to Envoy's last ACK", {"10k": "≤ 8 s"}),
    "first_ms": ("first request to a service nobody used", {}),
    "envoy_mb": ("Envoy (PSS)", {"1k": "≤ 120 MB", "10k": "≤ 300 MB"}),
    "agent_mb": ("agent (PSS)", {"1k": "≤ 150 MB", "10k": "≤ 350 MB"}),
    "relay_mb": ("relay (PSS)", {}),
}
PROMISES = {
    "change.in_force_ms": ("a VirtualService change, file to wire", "≤ 1 000 ms"),
    "enrol.p99_ms": ("CNI ADD, p99", ""),
    "enrol.beside_bad.p99_ms": ("the same beside a refused rule, a pod that cannot be captured, a crash loop", ""),
    "enrol.beside_bad.churn_p99_ms": ("beside a namespace that comes and goes, of which the mesh is told nothing", ""),
    "enrol.beside_bad.quiet_p99_ms": ("beside nothing, in turns", ""),
    "recover.agent_ms": ("kill -9 of the agent: well again", "≤ 3 000 ms"),
    "recover.envoy_ms": ("kill -9 of Envoy: requests answered again", "≤ 2 000 ms"),
    "read.worst_ms": ("the worst of hostile documents, read", "≤ 1 000 ms"),
    "read.validate_s": ("`tidegate validate` of 5 000 documents", "≤ 10 s"),
}
FAIR = {
    "fair.16.max_ms": "longest round trip of 64 B beside 16 bulk streams of another pod",
    "fair.64.max_ms": "beside 64",
    "fair.256.max_ms": "beside 256",
    "stuck.down.tcp_mib": "kernel memory of 300 downloads that nobody reads",
    "stuck.up.tcp_mib": "of 200 uploads that nobody reads",
}
GREEDY = {
    "fair.greedy.echo_ms": "round trip of 64 B, p99",
    "fair.greedy.conn_ms": "new connection, p99",
    "fair.greedy.http_ms": "HTTP request, p99",
}
NAMES = {
    "dns.known.p50_us": "a name of the mesh, median",
    "dns.known.p99_us": "a name of the mesh, p99",
    "dns.other.p50_us": "another name, by way of the node, median",
    "dns.other.p99_us": "another name, p99",
}
PLACES = {"1core": "Everything on one CPU (the CPU cost)", "free": "Wherever the scheduler likes"}


def figure(value: float | None, unit: str) -> str:
    """A number with as many digits as mean something."""
    if value is None:
        return "–"
    if unit == "1/s":
        return f"{value:,.0f}/s".replace(",", " ")
    return f"{value:.1f} {unit.replace('us', 'µs')}"


def value_of(result: dict[str, Any], column: str) -> float | None:
    """A contestant's median."""
    value = result[column] if column in result else result["peers"].get(column)
    return None if value is None else float(value)


def cell(result: dict[str, Any], column: str) -> str:
    """A median, and how it compares with no mesh."""
    value, direct = value_of(result, column), value_of(result, "direct")
    text = figure(value, result["unit"])
    return text if column == "direct" or not value or not direct else f"{text} ({value / direct:.2f}×)"


def rounds(paths: Sequence[dict[str, Any]], asked: int) -> str:
    """How many runs each median is of. asked: what is said where there are none; groups may be measured apart."""
    counts = {len({run["round"] for run in result["runs"]}) for result in paths} or {asked}
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def table(bench: dict[str, Any]) -> str:
    """The Markdown between the markers. Raises ValueError on figures that nobody should quote."""
    machine = bench["machine"]
    paths = [result for result in bench["results"] if of_network(result)]
    if machine["quick"] or any(result["tidegate"] is None for result in paths):
        raise ValueError("bench.json is of a smoke test or without tidegate: run `make bench` first")
    lines = [
        f"Linux {machine['kernel']}, {machine['cpu']}, {machine['cpus']} CPUs; "
        f"medians of {rounds(paths, machine['rounds'])} interleaved runs of {machine['seconds']:g} s; "
        "in brackets relative to no mesh. Written by `make bench bench-readme`.",
    ]
    for placement, title in PLACES.items():
        lines += ["", f"| {title} | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
        for result in paths:
            name, _, where = result["name"].rpartition(".")
            if where == placement and name not in EDGE:
                row = " | ".join(cell(result, column) for column in COLUMNS)
                lines.append(f"| {WORDS.get(name, name)} (`{result['name']}`) | {row} |")
    figures = {result["name"]: result for result in bench["results"] if not of_network(result)}
    return "\n".join([*lines, *edge_table(paths), *fair_table(figures), *scale_table(figures), *promise_table(figures)])


def edge_table(paths: Sequence[dict[str, Any]]) -> list[str]:
    """What is compared with one other alone; nothing if none of it was measured."""
    rows = []
    for result in paths:
        name = result["name"].rpartition(".")[0]
        if name not in EDGE:
            continue
        words, peer, promised = EDGE[name]
        mine, other, unit = value_of(result, "tidegate"), value_of(result, peer), result["unit"]
        ratio = f" ({mine / other:.2f}×)" if mine and other else ""
        shown = f"{figure(mine, unit)}{ratio} | {figure(other, unit)} ({OTHERS[peer]})"
        rows.append(f"| {words} (`{result['name']}`) | {cell(result, 'direct')} | {shown} | {promised} |")
    head = "| At an edge; in brackets relative to the other | no proxy | **Tidegate** | the other | promised |"
    return ["", head, "|---|---:|---:|---:|---:|", *rows] if rows else []


def fair_table(figures: Mapping[str, dict[str, Any]]) -> list[str]:
    """What a pod can take from others, and what they get beside one that takes all; only what was measured."""
    pods = compared(figures, FAIR, "| What one pod can take from another | no mesh | **Tidegate** | promised |", "≤ 2×")
    greedy = compared(
        figures, GREEDY, "| A pod that takes all that it gets | without it | beside it | promised |", "≤ 3×"
    )
    names = compared(
        figures, NAMES, "| A question for a name | its resolver directly | **Tidegate** | promised |", "≤ 500 µs more"
    )
    return [*pods, *greedy, *names]


def compared(figures: Mapping[str, dict[str, Any]], words: Mapping[str, str], head: str, promised: str) -> list[str]:
    """A table of figures that have one to compare with."""
    rows = [
        f"| {text} (`{name}`) | {figure(found['direct'], found['unit'])} | {cell(found, 'tidegate')} | {promised} |"
        for name, text in words.items()
        if (found := figures.get(name))
    ]
    return ["", head, "|---|---:|---:|---:|", *rows] if rows else []


def scale_table(figures: Mapping[str, dict[str, Any]]) -> list[str]:
    """One row for each thing that grows, one column for each size; nothing if no size was measured."""
    sizes = [size for size in SIZES if f"scale.{size}.change_ms" in figures]
    if not sizes:
        return []
    heads = " | ".join(f"{SIZES[size]} | promised" for size in sizes)
    lines = ["", f"| One node, 50 pods, every 10th service with a VirtualService | {heads} |"]
    lines.append("|---|" + "---:|---:|" * len(sizes))
    for part, (words, promised) in SCALE.items():
        cells = [f"{alone(figures.get(f'scale.{size}.{part}'))} | {promised.get(size, '')}" for size in sizes]
        lines.append(f"| {words} (`scale.*.{part}`) | {' | '.join(cells)} |")
    return lines


def promise_table(figures: Mapping[str, dict[str, Any]]) -> list[str]:
    """What is promised in seconds, on a node with few services; nothing if none was measured."""
    rows = [
        f"| {words} (`{name}`) | {alone(figures[name])} | {promised} |"
        for name, (words, promised) in PROMISES.items()
        if name in figures
    ]
    return ["", "| One node, 5 pods, 20 services | | promised |", "|---|---:|---:|", *rows] if rows else []


def alone(result: Mapping[str, Any] | None) -> str:
    """A figure that is compared with nothing."""
    if result is None or result["tidegate"] is None:
        return "–"
    digits = 2 if result["unit"] == "s" else 0 if result["tidegate"] >= 10 else 1
    return f"{result['tidegate']:,.{digits}f} {result['unit']}".replace(",", " ")


def replaced(text: str, body: str) -> str:
    """The text with `body` between the markers. Raises ValueError unless both are there once, in order."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise ValueError(f"README.md needs one {BEGIN} and after it one {END}")
    return f"{head}{BEGIN}\n{body}\n{END}{tail}"


def main() -> int:
    """Exit 0; ValueError when build/bench.json is nothing to publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--published", type=Path, default=PUBLISHED)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options = parser.parse_args()
    body = table(json.loads(options.bench.read_text(encoding="utf-8")))
    options.readme.write_text(replaced(options.readme.read_text(encoding="utf-8"), body), encoding="utf-8")
    shutil.copyfile(options.bench, options.published)
    return 0


if __name__ == "__main__":
    sys.exit(main())
