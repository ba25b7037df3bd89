"""No test looks once at what takes its time: it waits for the event, or for the state that it is about.

A look that is too early is right nearly always, and then fails where nobody was at fault. What is recognised here has
happened: somebody else was in a cgroup for a moment, a port that was found free was taken, a request that was to be
under way had been answered, a probe of a busy container was late, a counter ran behind what the wire showed.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TREES = ("tests", "lab/tests")
EXEMPT = ("tests/mutants", "tests/support/cgroup.py", "tests/unit/test_no_single_looks.py")
LONG = 60  # seconds, or more: nobody is as busy as that
SLEEPING = re.compile(r"[?&]sleep=(\d+(?:\.\d+)?)")


def files() -> list[Path]:
    found = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return [path for path in found if not str(path.relative_to(ROOT)).startswith(EXEMPT)]


def looks(source: str) -> list[str]:
    """LINE: what is wrong, of each look that may be too early."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        found += [(getattr(node, "lineno", 0), why) for why in wrong_alone(node)]
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                found += [(later.lineno, why) for one, later in pairs(block) if (why := wrong_after(one, later))]
    if re.search(r"(readiness|liveness|startup)Probe: ", source) and "timeoutSeconds" not in source:
        found.append((1, "a probe that gives a busy container one second: say timeoutSeconds"))
    return [f"{line}: {why}" for line, why in sorted(set(found))]


def pairs(block: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    return itertools.pairwise(block)


def wrong_alone(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Attribute(attr="read_text", value=where)) if "cgroup.procs" in ast.unparse(where):
            yield "who is in a cgroup changes: tests.support.cgroup"
        case ast.Constant(value=str(text)) if any(float(found) < LONG for found in SLEEPING.findall(text)):
            yield "a request that is to be under way ends by itself: ?held=PATH"
        case ast.With(
            items=[ast.withitem(context_expr=made, optional_vars=ast.Name(id=name))], body=[ast.Assign() as only]
        ):
            if "create_server" in ast.unparse(made) and f"{name}.getsockname()[1]" in ast.unparse(only.value):
                yield "a port that was free may be taken before it is used: let its user bind port 0"
        case ast.Call() if re.match(r"select\.select\(\[[^]]*\.(stdout|stderr)\b(?!\.fileno)", ast.unparse(node)):
            yield "a line that a buffered file has read already is not seen: tests.bench.processes.Lines"
        case ast.arg(arg="unused_tcp_port"):
            yield "a port that was free may be taken before it is used: let its user bind port 0"
        case ast.Assert() if re.search(r"\.stats\(\)\)\.closed\[", ast.unparse(node)):
            yield "a counter may run behind what the wire shows: wait for it"
        case _:
            pass


def wrong_after(one: ast.stmt, later: ast.stmt) -> str:
    """What is wrong with a look that follows an act at once."""
    act, look = ast.unparse(one), ast.unparse(later)
    if not isinstance(one, ast.Expr) or not isinstance(later, ast.Assert | ast.Assign) or "eventually(" in look:
        return ""
    if act.startswith("os.kill(") and "SIGKILL" in act and isinstance(later, ast.Assert):
        return "a process that was killed ends a little later: tests.support.ended"
    if ".apply(" in act and re.search(r"\.(read_text|exists)\(\)", look) and "cluster" not in look:
        return "a container counts as ready before its script has written anything"
    return ""


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_looks_once(path: Path) -> None:
    assert not looks(path.read_text())


def probes(value: Any) -> Iterator[dict[str, Any]]:
    """Every probe in a document."""
    if isinstance(value, dict):
        yield from (probe for name, probe in value.items() if str(name).endswith("Probe") and isinstance(probe, dict))
        for inner in value.values():
            yield from probes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from probes(inner)


@pytest.mark.parametrize("path", sorted((ROOT / "tests/support/manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_a_busy_container_of_a_test_is_not_taken_for_dead(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    assert not [probe for probe in probes(documents) if probe.get("timeoutSeconds", 1) < LONG]


SINGLE = [
    '(pid,) = (cgroup / "cgroup.procs").read_text().split()',
    'pid = int((cgroup / "cgroup.procs").read_text())',
    'assert str(pid) in (own / "c-server" / "cgroup.procs").read_text()',
    'slow = create_task(ask("/?sleep=1"))',
    'with socket.create_server(("127.0.0.1", 0)) as probe:\n    port = probe.getsockname()[1]',
    "async def test(unused_tcp_port):\n    await start(unused_tcp_port)",
    "ready = select.select([self._process.stdout], [], [], 600)[0]",
    "assert (await mesh.relay.stats()).closed[CloseReason.OK] == 3",
    "os.kill(pid, signal.SIGKILL)\nassert not alive(pid)",
    'def test():\n    lab.apply(manifest)\n    pid = (manifest.parent / "pid").read_text()',
    "try:\n    lab.apply(manifest)\n    assert ran.exists()\nfinally:\n    pass",
    'POD = "readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}"',
]
FINE = [
    "pid = sole_member(cgroup)",
    'procs.write_text("0")',
    'answer = ask("/?sleep=90")',
    'with socket.create_server(("127.0.0.1", 0)) as server:\n    yield server.getsockname()[1]',
    "select.select([descriptor], [], [], seconds)",
    "await mesh.closed(CloseReason.OK, 3)",
    "kill(pid)\nassert not alive(pid)",
    'lab.apply(manifest)\npid = written(manifest.parent / "pid")',
    'lab.apply(manifest)\neventually(ran.exists, "it runs")',
    'POD = "readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1, timeoutSeconds: 60}"',
]


@pytest.mark.parametrize("source", SINGLE)
def test_a_single_look_is_found(source: str) -> None:
    assert looks(source)


@pytest.mark.parametrize("source", FINE)
def test_what_waits_is_fine(source: str) -> None:
    assert not looks(source)
