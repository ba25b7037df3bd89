"""What is measured: loads (a program and its arguments) and the metrics that each of them yields. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a run: its name in bench.json (without placement), unit, and key in the tool's output."""

    name: str
    unit: str
    key: str
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Load:
    """One program run. `port` is the offset of the server's port from the base port of its room."""

    name: str
    tool: str
    port: int
    mode: str
    argument: str
    metrics: tuple[Metric, ...]
    authority: str = "server.bench:7010"

    def command(self, tools: Path, host: str, port: int, seconds: float) -> list[str]:
        """The command line that loads host:port for that many seconds."""
        if self.tool == "httpload":
            return [str(tools / self.tool), host, str(port), f"{seconds:g}", self.argument, self.authority]
        extra = [self.argument] if self.argument else []
        return [str(tools / self.tool), self.mode, host, str(port), f"{seconds:g}", *extra]


ECHO, SINK, ONCE, SPOUT, DEAF, HELLO, HTTP, HTTP_DEAF = 0, 1, 2, 3, 4, 5, 9, 10
TWO = 11  # of the server that answers in two sends, which nagle.py starts


def http(room: str, authority: str = "server.bench:7010") -> tuple[Load, ...]:
    """HTTP on one connection and on 32."""
    latencies = Metric(f"{room}.p50", "us", "p50_us", False), Metric(f"{room}.p99", "us", "p99_us", False)
    requests = Metric(f"{room}.rps", "1/s", "per_second", True)
    return (
        Load("http1", "httpload", HTTP, "", "1", latencies, authority),
        Load("http32", "httpload", HTTP, "", "32", (requests,), authority),
    )


LOADS = (
    Load("rr64", "l4load", ECHO, "rr", "64", (Metric("l4.samenode.rr64", "us", "mean_us", False),)),
    Load("rr16k", "l4load", ECHO, "rr", "16384", (Metric("l4.samenode.rr16k", "us", "mean_us", False),)),
    Load("bulk", "l4load", SINK, "bulk", "", (Metric("l4.samenode.bulk", "Gbit/s", "gbit_s", True),)),
    Load("conn", "l4load", ONCE, "conn", "", (Metric("l4.samenode.conn", "1/s", "per_second", True),)),
    *http("l7"),
)
SITE = "shop.example"  # what the gateway serves
AT_THE_GATEWAY = http("gateway", SITE)

# Two servers by their names, of which the second one is asked for, and a name that leads nowhere.
FIRST, SECOND, NOBODY = "one.bench.example", "two.bench.example", "three.bench.example"
BY_NAME = (Load("hello", "l4load", HELLO, "hello", SECOND, (Metric("tls.sni.conn", "1/s", "per_second", True),)),)


def metrics(loads: Iterable[Load]) -> list[Metric]:
    """All that these loads yield, in their order."""
    return [metric for load in loads for metric in load.metrics]


def figures(output: str) -> Mapping[str, float]:
    """The numbers in a tool's one JSON line. Raises ValueError if there is none or nothing was counted."""
    value = json.loads(output)
    numbers = {key: float(number) for key, number in value.items() if isinstance(number, (int, float))}
    if not numbers.get("count", numbers.get("bytes", 0)):
        raise ValueError(f"nothing was counted: {output.strip()}")
    return numbers
