"""Policies and connections as hypothesis draws them: few names and addresses, so that they often meet."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tidegate.model.authorization import (
    Authorization,
    AuthorizationAction,
    How,
    PolicyMatch,
    PolicyScope,
    PolicySubject,
    Text,
)
from tidegate.model.identity import Identity

set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / "build" / "hypothesis")  # what it keeps for itself
_NAMES = ("a", "b", "ab", "ba", "aa")
_ADDRESSES = [ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.1.0.1", "::1", "2001:db8::1", "2001:db9::1")]
_NETWORKS = [
    ip_network(text)
    for text in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/15", "10.0.0.0/31", "10.0.0.1", "::/0", "2001:db8::/31", "::1")
]
_PORTS = (0, 80, 81, 65535)


def _texts(words: st.SearchStrategy[str]) -> st.SearchStrategy[Text]:
    parts = st.builds(
        lambda word, begin, end: word[begin : len(word) - end], words, st.integers(0, 9), st.integers(0, 9)
    )
    return st.builds(Text, st.sampled_from(How), st.one_of(words, parts)).map(
        lambda text: Text(How.PRESENT) if text.how is How.PRESENT else text
    )


_names = st.sampled_from(_NAMES)
_identities = st.builds(Identity, _names, _names)
_principals = st.builds(lambda domain, one: one.spiffe(domain).removeprefix("spiffe://"), _names, _identities)


def _some(items: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=most).map(tuple)


def matches() -> st.SearchStrategy[PolicyMatch]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "namespaces": _texts(_names),
        "principals": _texts(_principals),
        "source_ips": st.sampled_from(_NETWORKS),
        "destination_ips": st.sampled_from(_NETWORKS),
        "destination_ports": st.sampled_from(_PORTS),
        "service_accounts": _identities,
    }
    both = {**fields, **{f"not_{name}": items for name, items in fields.items()}}
    chosen = st.dictionaries(st.sampled_from(sorted(both)), st.none(), max_size=3)
    return chosen.flatmap(
        lambda names: st.fixed_dictionaries({name: _some(both[name]) for name in names}).map(lambda f: PolicyMatch(**f))
    )


def policies() -> st.SearchStrategy[tuple[Authorization, ...]]:
    """Of one workload, in their order."""
    clause = _some(matches(), 2)
    rule = _some(clause, 3)
    one = st.builds(
        lambda action, rules, trial: (action, rules, trial),
        st.sampled_from(AuthorizationAction),
        _some(rule, 2),
        st.booleans(),
    )

    def named(drawn: list[tuple[AuthorizationAction, tuple[Any, ...], bool]]) -> tuple[Authorization, ...]:
        return tuple(
            Authorization(namespace="n", name=f"p{i}", scope=PolicyScope.NAMESPACE, action=a, rules=r, dry_run=t)
            for i, (a, r, t) in enumerate(drawn)
        )

    return st.lists(one, max_size=4).map(named)


def subjects() -> st.SearchStrategy[PolicySubject]:
    return st.builds(
        lambda source, destination, port, identity, domain: PolicySubject(
            source, destination, port, identity, domain if identity else ""
        ),
        st.sampled_from(_ADDRESSES),
        st.sampled_from(_ADDRESSES),
        st.sampled_from(_PORTS),
        st.none() | _identities,
        _names,
    )
