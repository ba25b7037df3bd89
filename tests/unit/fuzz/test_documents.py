"""Whatever stands in a configuration file becomes documents and problems: reading it never raises and never hangs."""

from __future__ import annotations

import sys

import pytest
from tests.fuzz.mutate import mutants, seeds

from tidegate.config.documents import parse_text

SEEDS = seeds("documents")
WORDS = [
    *(b"---\n", b"...\n", b"\n", b"  ", b"\t", b": ", b"- ", b"? ", b"&a ", b"*a", b"<<: *a\n", b"!!int ", b"!!float "),
    *(
        b"!!str ",
        b"!!bool ",
        b'""',
        b"null",
        b"~",
        b"{}",
        b"[]",
        b"[" * 300,
        b"{a: " * 300,
        b"- " * 300,
        b"|\n",
        b">-\n",
    ),
    *(b"0x" + b"f" * 5000, b"9" * 5000, b"1:" * 300 + b"1.0", b".nan", b"-.inf", b"1e400", b"-1", b"65536", b"0o7"),
    *(
        b"true",
        b"!!binary x",
        b"2001-01-01",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\x00",
        b"\xef\xbf\xbe",
        b"\xf0\x9f\x8c\x8a",
    ),
    *(
        b"*",
        b"(",
        b"[a-",
        b"%",
        b"kind: List\nitems:\n",
        b"http:",
        b"match:",
        b"regex: ",
        b"weight: ",
        b"port: ",
        b"10s",
    ),
]


def check(text: str) -> None:
    parsed = parse_text(text, "mesh.yaml")
    # A line break of YAML is one of str.splitlines() too; a problem may be reported at the end of the text.
    lines = len(text.splitlines()) + 1
    for problem in parsed.problems:
        assert 1 <= problem.line <= lines, problem
        assert problem.message
        problem.message.encode()
    assert parsed.problems or not parsed.unreadable
    assert all(problem.severity for problem in parsed.problems)


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed(name: str) -> None:
    check(SEEDS[name].decode())


def test_mutants() -> None:
    for data in mutants(list(SEEDS.values()), WORDS, count=2000, seed=20):
        check(data.decode(errors="replace"))


def test_reading_again_what_changed_is_as_good_as_reading_everything() -> None:
    rng = [seed.decode() for seed in SEEDS.values()]
    before = {text: parse_text(text, "mesh.yaml") for text in rng}
    for number, data in enumerate(mutants(list(SEEDS.values()), WORDS, count=300, seed=21)):
        text = data.decode(errors="replace")
        old = before[rng[number % len(rng)]]
        assert parse_text(text, "mesh.yaml", old) == parse_text(text, "mesh.yaml")


@pytest.mark.parametrize("opening", ["- ", "? ", "[", "{a: ", "[{a: "])
def test_depth_does_not_exhaust_the_stack_of_the_c_parser(opening: str) -> None:
    parsed = parse_text("apiVersion: v1\nspec: \n " + opening * 200_000, "mesh.yaml")
    assert parsed.unreadable
    assert ("a key must be a word" if opening == "? " else "too deep") in parsed.problems[0].message


def test_depth_over_many_lines_counts_as_well() -> None:
    depth = 1500
    parsed = parse_text("\n".join(" " * n + "a:" for n in range(depth)), "mesh.yaml")
    assert "too deep" in parsed.problems[0].message
    assert sys.getrecursionlimit() < depth  # that is why it matters


def test_a_long_line_is_no_deep_one() -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: long}}\ndata: {{a: '{'x[' * 5000}'}}\n"
    assert not parse_text(text, "mesh.yaml").problems


def test_text_that_utf8_cannot_say_is_a_problem() -> None:
    assert parse_text("a: 1\nb: '\ud800'\n", "mesh.yaml").problems[0].line == 2
