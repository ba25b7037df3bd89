"""The oracle of who may connect gives what the vectors say."""

from __future__ import annotations

import pytest
from tests.support.authorizations import Vector, vectors

from tidegate.compile.explain.authorization import ask, decide

ALL = tuple(vectors())


@pytest.mark.parametrize("vector", ALL, ids=lambda v: v.name)
def test_vectors(vector: Vector) -> None:
    assert decide(vector.policies, vector.subject) == vector.expect


@pytest.mark.parametrize("vector", ALL, ids=lambda v: v.name)
def test_each_policy_says_why(vector: Vector) -> None:
    """Of each there is a reason, and those that match are those by which it was decided."""
    asked = list(ask(vector.policies, vector.subject))
    assert [one.policy for one in asked] == list(vector.policies)
    assert all(one.why for one in asked)
    fitting = {one.policy.key for one in asked if one.matches}
    deciding = {vector.expect.policy, vector.expect.would_policy, vector.expect.audited} - {""}
    assert deciding <= fitting
