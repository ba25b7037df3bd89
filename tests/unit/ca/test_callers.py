"""The table of callers: who is in it, whom each may ask for, and which tables are none."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.ca.callers import caller_table
from tidegate.errors import Rejected
from tidegate.model.identity import Identity

WORD = "a word that nobody guesses"
DIGEST = sha256(WORD.encode()).hexdigest()
TABLE = f"""
[[caller]]
name = "node1"
token_sha256 = "{DIGEST}"
may = ["shop/*", "default/sleep", "*/probe"]

[[caller]]
name = "agents"
account = "istio-system/tidegate"
may = ["node"]
"""


def test_who_shows_the_word_is_the_caller() -> None:
    table = caller_table(TABLE.encode(), "callers.toml")
    row = table.with_word(WORD)
    assert row is not None
    assert row.name == "node1"
    assert table.with_word(WORD + "x") is None
    assert table.with_word("") is None
    assert table.with_word(DIGEST) is None, "who read the table knows no word"
    agents = table.by_account[Identity("istio-system", "tidegate")]
    assert (agents.name, agents.of_its_node, row.of_its_node) == ("agents", True, False)


names = st.sampled_from(["shop", "default", "other", "sleep", "probe", "cart", "shop-2", "a.b"])


patterns = st.tuples(st.sampled_from(["*", "shop", "default"]), st.sampled_from(["*", "sleep", "a.b"]))


@settings(deadline=None)
@given(st.lists(patterns, max_size=4), names, names)
def test_patterns_name_whom_they_say(said: list[tuple[str, str]], namespace: str, account: str) -> None:
    text = f'[[caller]]\nname = "n"\ntoken_sha256 = "{DIGEST}"\nmay = {[f"{n}/{a}" for n, a in said]}\n'
    row = caller_table(text.encode(), "t").with_word(WORD)
    assert row is not None
    oracle = any(
        re.fullmatch(f"{re.escape(n)}/{re.escape(a)}".replace(r"\*", "[^/]*"), f"{namespace}/{account}")
        for n, a in said
    )
    assert row.names(Identity(namespace, account)) == oracle


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("caller = 1", "something else than"),
        ("[other]\na = 1", "something else than"),
        ("[[caller]", "is not TOML"),
        ("caller = [1]", "caller 1: is no table"),
        ("[[caller]]\n", "has no name"),
        ('[[caller]]\nname = "a b"\n', "has no name"),
        ('[[caller]]\nname = "a"\n', "does not say who it is"),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\naccount = "a/b"', "does not say who it is"),
        ('[[caller]]\nname = "a"\ntoken_sha256 = "abc"', "64 hexadecimal digits"),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{DIGEST.upper()}"', "64 hexadecimal digits"),
        ('[[caller]]\nname = "a"\naccount = "a"', "NAMESPACE/ACCOUNT"),
        ('[[caller]]\nname = "a"\naccount = "A/b"', "NAMESPACE/ACCOUNT"),
        ('[[caller]]\nname = "a"\naccount = 7', "NAMESPACE/ACCOUNT"),
        ('[[caller]]\nname = "a"\naccount = "a/b"\nmay = "a/b"', "a may that is none"),
        ('[[caller]]\nname = "a"\naccount = "a/b"\nmay = ["a"]', "a may that is none"),
        ('[[caller]]\nname = "a"\naccount = "a/b"\nmay = ["sh*/b"]', "a may that is none"),
        (f'[[caller]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\nmay = ["node"]', "nobody knows the node"),
        ('[[caller]]\nname = "a"\naccount = "a/b"\nmays = []', "has mays; known are"),
        (TABLE + TABLE, "as another one is"),
        (TABLE + TABLE.replace('"node1"', '"node2"').replace('"agents"', '"more"'), "has the token of 'node1'"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(Rejected, match=re.escape(why)) as refused:
        caller_table(text.encode(), "callers.toml")
    assert str(refused.value).startswith("callers.toml")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(data: bytes) -> None:
    try:
        caller_table(data, "t")
    except Rejected:
        return
