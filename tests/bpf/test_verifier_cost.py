"""No program costs the verifier much more than when somebody last looked: verifier_cost.json, `make verifier-cost`."""

from __future__ import annotations

import pytest
from tests.bpf import verifier_cost

from tidegate.bpf.hooks import HOOKS
from tidegate.bpf.lookup import PROGRAM

MORE = 1.1
KNOWN = verifier_cost.known()


@pytest.fixture(scope="module")
def cost() -> verifier_cost.Cost:
    return verifier_cost.measured()


@pytest.mark.parametrize("program", sorted({*(hook.program for hook in HOOKS), PROGRAM}))
def test_cost(cost: verifier_cost.Cost, program: str) -> None:
    assert cost[program] > 0, "the kernel says nothing"
    seen = {kernel: counted[program] for kernel, counted in KNOWN.items() if program in counted}
    assert seen, "a program that is not in verifier_cost.json: make verifier-cost"
    # A kernel that nobody has seen yet is not judged by others' way of counting; `make verifier-cost` adds it.
    bound = MORE * seen.get(verifier_cost.kernel(), cost[program])
    assert cost[program] <= bound, f"see why, then `make verifier-cost`; on other kernels: {seen}"


def test_no_program_of_before_is_in_the_file(cost: verifier_cost.Cost) -> None:
    for kernel, counted in KNOWN.items():
        assert counted.keys() == cost.keys(), kernel
