"""No test fails because the machine is slow or busy: none holds a duration against an upper bound or gives up early.

A promise in seconds is measured by `make bench`. What a test may say of time is a lower bound ("waits at least"), for
which no machine is too slow. The check reads the syntax of all tests: it follows values that come from a clock, or
whose name says that they are durations, through the assignments of one function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("tests", "lab/tests", "samples")  # `make run` is a test, too
# Benchmarks measure; these two are the hang guards that all others use.
EXEMPT = ("tests/bench", "tests/support/eventually.py", "tests/relay/conftest.py")
CLOCKS = {"monotonic", "perf_counter", "time", "process_time", "thread_time"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
DURATIONS = {"seconds", "elapsed", "took", "taken", "duration", "duration_ns", "duration_ms", "late", "gap", "slowest"}
EARLY = 60  # seconds; nobody gives up on another program sooner
WAITS = {"asyncio.wait_for": 1, "asyncio.timeout": 0, "pytest.mark.timeout": 0}  # and which argument is the limit
METHODS = {"wait_applied": 1, "settimeout": 0}


def files() -> list[Path]:
    found = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
    return [path for path in found if not str(path.relative_to(ROOT)).startswith(EXEMPT)]


def judged(source: str) -> list[str]:
    """LINE: TEXT of each statement that judges time or gives up early."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    nots = [node for node in ast.walk(tree) if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)]
    in_vain = {id(inner) for node in nots for inner in ast.walk(node)}  # nothing is to happen until then
    found: set[tuple[int, str]] = set()
    for scope in [tree, *functions]:
        timed = names_of_times(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.Assert):
                found |= {(node.lineno, ast.unparse(node)) for pair in pairs(node.test) if is_upper_bound(*pair, timed)}
            elif isinstance(node, ast.Return) and node.value is not None:  # a check that somebody else asserts
                found |= {
                    (node.lineno, ast.unparse(node)) for pair in pairs(node.value) if is_upper_bound(*pair, timed)
                }
            elif isinstance(node, ast.If) and fails(node):
                found |= {(node.lineno, ast.unparse(node)) for pair in pairs(node.test) if is_any_bound(*pair, timed)}
            elif isinstance(node, ast.Call) and id(node) not in in_vain and gives_up_early(node):
                found.add((node.lineno, ast.unparse(node)))
    return [f"{line}: {text.splitlines()[0]}" for line, text in sorted(found)]


def names_of_times(scope: ast.AST) -> set[str]:
    """Names that are given a value which comes from a clock, in the order in which they stand; twice, for loops."""
    timed: set[str] = set()
    for _ in range(2):
        for node in ast.walk(scope):
            match node:
                case ast.Assign(targets=targets, value=value) if is_time(value, timed):
                    timed |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
                case ast.NamedExpr(target=ast.Name(id=name), value=value) if is_time(value, timed):
                    timed.add(name)
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "extend"), args=[value]):
                    timed |= {name} if is_time(value, timed) else set()
                case _:
                    pass
    return timed


def is_time(value: ast.AST, timed: set[str]) -> bool:
    """Whether a clock is asked in it, or something that is a duration by name or by origin is used in it."""
    for node in ast.walk(value):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)) if name in CLOCKS:
                return True
            case ast.Name(id=name) if name in timed or name in DURATIONS:
                return True
            case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))) if name in DURATIONS:
                return True
            case _:
                pass
    return False


def pairs(test: ast.expr) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """Each comparison in an expression, chains in their links."""
    for node in ast.walk(test):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            yield from zip(sides, node.ops, sides[1:], strict=False)


def is_upper_bound(left: ast.expr, operator: ast.cmpop, right: ast.expr, timed: set[str]) -> bool:
    if isinstance(operator, ast.Lt | ast.LtE):
        return is_time(left, timed)
    if isinstance(operator, ast.Gt | ast.GtE):
        return is_time(right, timed)
    return isinstance(operator, ast.Eq | ast.In) and is_time(left, timed) and "approx" in ast.unparse(right)


def is_any_bound(left: ast.expr, _: ast.cmpop, right: ast.expr, timed: set[str]) -> bool:
    return is_time(left, timed) or is_time(right, timed)


def fails(branch: ast.If) -> bool:
    """Whether the branch itself makes the test fail."""
    said = [ast.unparse(node) for node in branch.body if isinstance(node, ast.Raise | ast.Expr)]
    return any(text.startswith(("raise AssertionError", "pytest.fail")) for text in said)


def gives_up_early(call: ast.Call) -> bool:
    """A limit written as a number that a busy machine may need for itself."""
    name = ast.unparse(call.func).rpartition(".")[2]
    limits = [word.value for word in call.keywords if word.arg == "timeout" and name != "wait"]
    whole = ast.unparse(call.func)
    if whole in WAITS or name in METHODS:
        at = WAITS.get(whole, METHODS.get(name, 0))
        limits += call.args[at : at + 1]
    least = 3600 if whole == "pytest.mark.timeout" else EARLY
    numbers = [limit.value for limit in limits if isinstance(limit, ast.Constant)]
    return any(isinstance(number, int | float) and number < least for number in numbers)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_judges_seconds(path: Path) -> None:
    assert not judged(path.read_text()), "measure it in tests/bench, or wait for what is to happen"


JUDGES = [
    "def killed():\n    took = time.monotonic() - start\n    return took <= 4.0, took",
    "assert time.monotonic() - begun < 2",
    "begun = time.monotonic()\nassert 5 > time.monotonic() - begun",
    "begun = monotonic()\nwork()\ntook = monotonic() - begun\nassert 0.2 < took <= 3",
    "taken = []\nfor _ in range(3):\n    taken.append(perf_counter() - start)\nassert min(taken) <= 0.3, taken",
    "def check(seconds):\n    last = time.process_time()\n    assert last - first < seconds",
    "assert (late['code'], 0.4 < late['seconds'] < 2) == ('UNAVAILABLE', True)",
    "assert event.duration_ns < 2e9",
    "assert got['gap'] < 2, got",
    "assert ask(lab)['seconds'] == pytest.approx(1.0)",
    "if time.monotonic() - begun > 2:\n    pytest.fail('too slow')",
    "if time.monotonic() > deadline:\n    raise AssertionError('too slow')",
    "await asyncio.wait_for(thing(), 5)",
    "async def f():\n    async with asyncio.timeout(10):\n        pass",
    "subprocess.run(command, timeout=30)",
    "assert await server.wait_applied(1, 10)",
    "sock.settimeout(10)",
    "@pytest.mark.timeout(300)\ndef test(): ...",
]
FINE = [
    "begun = time.monotonic()\nwork()\nassert time.monotonic() - begun >= 0.3",
    "assert answer['seconds'] > 0.4",
    "eventually(lambda: ask(lab)['seconds'] < 3.9, 'nobody else waits')",
    "await asyncio.wait([waiting], timeout=0.4)",
    "assert not await server.wait_applied(1, 0.01)",
    "sock.settimeout(HANG_SECONDS)",
    "await asyncio.wait_for(thing(), HANG_SECONDS)",
    "subprocess.run(command, timeout=HANG_SECONDS)",
    "subprocess.run(command, timeout=None)",
    "assert len(found) < 3",
]


@pytest.mark.parametrize("source", JUDGES)
def test_a_judged_second_is_found(source: str) -> None:
    assert judged(source)


@pytest.mark.parametrize("source", FINE)
def test_what_waits_for_events_is_fine(source: str) -> None:
    assert not judged(source)
