"""The include law of agent/relay: its README has the order of modules, and what only one of them may know.

A header may declare what another module defines, as `fastpath.h` does for all of the engine, so objects are asked, too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

RELAY = Path(__file__).resolve().parents[2] / "agent" / "relay"
README = (RELAY / "README.md").read_text()
SOURCES = {path.name: path.read_text() for path in sorted(RELAY.glob("*.[ch]"))}
MODULES = sorted({name.removesuffix(".c").removesuffix(".h") for name in SOURCES})

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
_NAME = re.compile(r"`([^`]+)`")


def table(first: str, second: str) -> list[tuple[str, str]]:
    """The first two columns of the README's table with these headings."""
    lines = README.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} | {second} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append((cells[0], cells[1]))
    return rows


ORDER = [name for _, modules in table("layer", "modules") for name in _NAME.findall(modules)]


def module(name: str) -> str:
    return name.removesuffix(".c").removesuffix(".h")


def includes(name: str, sources: dict[str, str]) -> list[str]:
    """Modules of the relay that a file includes, its own left out; what lies outside has a law of its own."""
    found = (module(path) for path in _INCLUDE.findall(_COMMENT.sub("", sources[name])) if "/" not in path)
    return [other for other in found if other != module(name)]


def offences(sources: dict[str, str], order: list[str]) -> Iterable[str]:
    rank = {name: number for number, name in enumerate(order)}
    for name in sources:
        for other in includes(name, sources):
            if rank[other] >= rank[module(name)]:
                yield f"{name} includes {other}.h, which stands after {module(name)} in the README's table"


def test_each_module_has_one_place_in_the_table() -> None:
    assert sorted(ORDER) == MODULES


def test_modules_include_only_what_stands_before_them() -> None:
    assert not list(offences(SOURCES, ORDER))


def test_an_include_against_the_order_is_found() -> None:
    sources = {
        "low.h": '#include "high.h"\n',
        "low.c": '#include "low.h"\n',
        "high.h": "",
        "high.c": '#include "low.h"\n',
    }
    assert list(offences(sources, ["low", "high"])) == [
        "low.h includes high.h, which stands after low in the README's table"
    ]


def symbols() -> tuple[dict[str, str], dict[str, set[str]]]:
    """(name -> module that defines it, module -> names that it lacks), of what was built."""
    defined: dict[str, str] = {}
    lacking: dict[str, set[str]] = {name: set() for name in MODULES}
    for source in (RELAY / name for name in SOURCES if name.endswith(".c")):
        built = RELAY.parents[1] / "build" / "relay" / f"{source.stem}.o"
        said = subprocess.run(["nm", "--extern-only", built], capture_output=True, text=True, check=True).stdout
        for *_, kind, name in (line.split() for line in said.splitlines()):
            if kind == "U":
                lacking[source.stem].add(name)
            else:
                defined[name] = source.stem
    return defined, lacking


def test_modules_call_only_what_stands_before_them() -> None:
    defined, lacking = symbols()
    assert defined["fp_engine_start"] == "engine"
    wrong = [
        f"{name} calls {symbol}, which {defined[symbol]} defines"
        for name, symbols_of_it in lacking.items()
        for symbol in sorted(symbols_of_it & defined.keys())
        if ORDER.index(defined[symbol]) > ORDER.index(name)
    ]
    assert wrong == []


@pytest.mark.parametrize(("owner", "words"), table("only in", "what"))
def test_what_one_module_knows_stands_nowhere_else(owner: str, words: str) -> None:
    [home] = _NAME.findall(owner)
    for word in _NAME.findall(words):
        places = {name for name, text in SOURCES.items() if re.search(rf"\b{word}\b", _COMMENT.sub("", text))}
        declared = home.removesuffix(".c") + ".h"
        assert home in places, f"{word} is not in {home} any more: correct the README's table"
        assert places <= {home, declared}, f"{word}: only {home} may know it"
