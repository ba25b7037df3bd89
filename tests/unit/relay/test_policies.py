"""agent/relay/policy.c, under sanitizers, decides as the vectors and the oracle do; it refuses what is no file."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.authorizations import COOKIE, Asker, vectors
from tests.support.drawn_policies import policies, subjects

from tidegate.compile.explain.authorization import decide
from tidegate.model.authorization import (
    Authorization,
    AuthorizationAction,
    How,
    PolicyDecision,
    PolicyScope,
    PolicySubject,
    PolicyVerdict,
)
from tidegate.model.plan.policy import NO_POLICIES, PolicyTable
from tidegate.relay.abi import ffi, lib
from tidegate.relay.policy_file import PolicyWriter

ALL = tuple(vectors())
UNKNOWN = (PolicyVerdict.DENY_UNKNOWN_WORKLOAD, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    with Asker(tmp_path_factory.mktemp("policies")) as made:
        yield made


@pytest.mark.parametrize(
    ("python", "prefix"),
    [(AuthorizationAction, "FP_ACTION_"), (How, "FP_HOW_"), (PolicyVerdict, "FP_")],
    ids=["actions", "how", "verdicts"],
)
def test_both_have_the_same_numbers(
    python: type[AuthorizationAction] | type[How] | type[PolicyVerdict], prefix: str
) -> None:
    enum = {AuthorizationAction: "fp_policy_action", How: "fp_policy_how", PolicyVerdict: "fp_policy_verdict"}[python]
    there = {name: number for number, name in ffi.typeof(f"enum {enum}").elements.items()}
    assert there == {f"{prefix}{one.name}": one.value for one in python}


def test_scopes_are_the_workload_apis() -> None:
    assert [(one.name, one.value) for one in PolicyScope] == [("GLOBAL", 0), ("NAMESPACE", 1), ("WORKLOAD_SELECTOR", 2)]


def test_c_decides_as_the_vectors_say(asker: Asker) -> None:
    wrong = [v.name for v in ALL if asker.decide(v.policies, v.subject) != v.expect]
    assert wrong == []


@settings(max_examples=400, deadline=None)
@given(drawn=policies(), subject=subjects())
def test_c_decides_as_python_does(asker: Asker, drawn: tuple[Authorization, ...], subject: PolicySubject) -> None:
    assert asker.decide(drawn, subject) == decide(drawn, subject)


def test_each_workload_has_its_own(asker: Asker) -> None:
    one, other = (v for v in ALL if v.name.endswith(("deny only: that port", "allow only: nobody")))
    table = PolicyTable((*one.policies, *other.policies), {3: (), 7: (1,), 9: (1, 2), 1 << 63: (2,)})
    subjects = [one.subject, other.subject]
    asked = [(cookie, subject) for cookie in (1, 3, 7, 8, 9, 1 << 63, (1 << 64) - 1) for subject in subjects]
    result, answers = asker.ask(PolicyWriter().lay_out(5, table), asked)
    assert result == 0
    by_cookie = dict.fromkeys((1, 8, (1 << 64) - 1), ())
    for (cookie, subject), numbers in zip(asked, answers, strict=True):
        if cookie in by_cookie:
            assert numbers == UNKNOWN
            continue
        expected = decide([table.policies[n - 1] for n in table.workloads[cookie]], subject)
        assert numbers[0] == expected.verdict, cookie


def test_an_empty_file_knows_nobody(asker: Asker) -> None:
    file = PolicyWriter().lay_out(1, NO_POLICIES)
    assert asker.ask(file, [(COOKIE, ALL[0].subject)]) == (0, [UNKNOWN])


LARGE = PolicyWriter().lay_out(
    9, PolicyTable(tuple(p for v in ALL[:90:3] for p in v.policies), {4: (1, 2), COOKIE: (2, 5)})
)


@pytest.mark.parametrize("size", [0, 1, 47, 48, len(LARGE) - 1])
def test_a_file_that_is_cut_off_is_refused(asker: Asker, size: int) -> None:
    assert asker.ask(LARGE[:size], []) == (-errno.EBADMSG, [])


def test_a_file_that_is_longer_than_it_says_is_refused(asker: Asker) -> None:
    assert asker.ask(LARGE + b"\0", []) == (-errno.EBADMSG, [])


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(LARGE) - 4), word=st.integers(0, 2**32 - 1) | st.integers(0, 80), subject=subjects())
def test_a_file_with_another_word_is_refused_or_decides_something(
    asker: Asker, at: int, word: int, subject: PolicySubject
) -> None:
    """The sanitizers find what a number that leads elsewhere would read."""
    at -= at % 4
    file = LARGE[:at] + word.to_bytes(4, sys.byteorder) + LARGE[at + 4 :]
    result, answers = asker.ask(file, [(COOKIE, subject), (4, subject)])
    assert result in (0, -errno.EBADMSG)
    assert all(numbers[0] in set(PolicyVerdict) for numbers in answers)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("field", 6),
        ("how", 4),
        ("negative", 2),
        ("pad", 1),
        ("number", 1),
        ("text", 0xFFFFFFFF),
        ("length", 0xFFFFFFFF),
    ],
)
def test_a_term_that_means_nothing_is_refused(asker: Asker, column: str, value: int) -> None:
    [vector] = [v for v in ALL if v.name == "names: principal, exact: equal"]
    file = bytearray(PolicyWriter().lay_out(1, PolicyTable(vector.policies, {COOKIE: (1,)})))
    head = ffi.from_buffer("struct fp_policy_head *", file)
    sizes = [
        ("workloads", "workload"),
        ("policies", "row"),
        ("rules", "part"),
        ("clauses", "part"),
        ("matches", "part"),
    ]
    begin = ffi.sizeof(head[0]) + sum(getattr(head, t) * ffi.sizeof(f"struct fp_policy_{row}") for t, row in sizes)
    term = ffi.cast("struct fp_policy_term *", ffi.from_buffer(file) + begin)
    assert (term.field, term.how, term.length) == (lib.FP_FIELD_PRINCIPAL, lib.FP_HOW_EXACT, 29)
    setattr(term, column, value)
    assert asker.ask(bytes(file), []) == (-errno.EBADMSG, [])


def test_equal_texts_of_a_policy_stand_there_once() -> None:
    [policy] = next(v.policies for v in ALL if v.name == "names: principal, exact: equal")
    twice = replace(policy, rules=policy.rules * 2)
    files = [PolicyWriter().lay_out(1, PolicyTable((one,), {})) for one in (policy, twice)]
    assert [file.count(b"shop") for file in files] == [1, 1]


def test_a_writer_that_knows_a_policy_writes_the_same() -> None:
    """Whatever stood beside it before."""
    writer, some = PolicyWriter(), tuple(p for v in ALL[:40:5] for p in v.policies)
    for chosen in (some, some[2:], some[::-1], (), some[1:4]):
        table = PolicyTable(chosen, {COOKIE: tuple(range(1, len(chosen) + 1))})
        assert writer.lay_out(1, table) == PolicyWriter().lay_out(1, table)


def test_addresses_are_as_the_kernel_has_them(asker: Asker) -> None:
    """A subject's IPv4 address is v4-mapped there, and meets prefixes of IPv4 only."""
    for vector in ALL:
        if vector.name.startswith("addresses: all IPv"):
            assert isinstance(vector.subject.source, IPv4Address | IPv6Address)
            assert asker.decide(vector.policies, vector.subject) == vector.expect


def test_nothing_is_decided_where_nothing_is_said(asker: Asker) -> None:
    assert asker.decide((), ALL[0].subject) == PolicyDecision(PolicyVerdict.ALLOW_NO_POLICY)
