from __future__ import annotations

import pytest
from tests.support.clock import ManualClock

from tidegate.enroll import crash_loops
from tidegate.enroll.crash_loops import (
    FAST_SANDBOXES,
    MOST_PODS,
    SANDBOXES,
    SOON_SECONDS,
    WINDOW_SECONDS,
    CrashLoop,
    CrashLoops,
)
from tidegate.model.names import WorkloadId

POD, OTHER = WorkloadId("shop", "web-0"), WorkloadId("shop", "db-0")


def test_a_pod_that_comes_again_and_again_is_named_until_it_stays() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(SANDBOXES - 1):
        loops.came(POD, number + 1)
        clock.advance(10)
    loops.came(OTHER, 77)
    assert loops.all() == ()
    loops.came(POD, 99)
    (loop,) = loops.all()
    assert loop == CrashLoop(POD, SANDBOXES)
    assert "made 5 times within 10 min" in loop.reason
    clock.advance(WINDOW_SECONDS)
    assert loops.all() == ()


def test_a_repeated_add_and_a_second_interface_are_no_new_sandbox() -> None:
    loops = CrashLoops(ManualClock().monotonic)
    for _ in range(SANDBOXES * 2):
        loops.came(POD, 1)
    assert loops.all() == ()


@pytest.mark.parametrize(("sandboxes", "seconds"), [(SANDBOXES, 1.0), (FAST_SANDBOXES, 10.0)])
def test_who_comes_faster_than_any_runtime_lets_him_waits_and_is_told_so(sandboxes: int, seconds: float) -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(sandboxes):
        loops.came(POD, number + 1)
        clock.advance(0.25)
    assert loops.patience(POD) == seconds - 0.25
    assert loops.patience(OTHER) == 0
    assert f"{seconds:.0f} s apart" in loops.all()[0].reason
    clock.advance(seconds)
    assert loops.patience(POD) == 0


def test_who_came_and_was_not_begun_with_makes_nobody_wait_longer() -> None:
    """Or the loop of an impatient runtime would never be enrolled."""
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(SANDBOXES):
        loops.came(POD, number + 1)
    clock.advance(0.75)
    loops.came(POD, 99, waits=True)
    assert loops.patience(POD) == 0.25
    loops.came(POD, 99)
    assert loops.patience(POD) == 1
    assert loops.all() == (CrashLoop(POD, SANDBOXES + 1),)


def test_who_comes_soon_again_comes_again() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    assert not loops.comes_again(POD)
    loops.came(POD, 1)
    loops.served(POD, 1)
    assert loops.comes_again(POD)
    assert not loops.comes_again(OTHER)
    assert not loops.came_again(POD)
    clock.advance(SOON_SECONDS + 1)
    assert not loops.comes_again(POD), "a pod that is made anew is no loop"
    loops.came(POD, 2)
    assert not loops.came_again(POD)
    loops.came(POD, 3)
    assert loops.came_again(POD)


def test_who_was_never_enrolled_comes_again_until_he_was() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    loops.came(POD, 1)
    clock.advance(SOON_SECONDS + 1)
    loops.served(POD, 77)  # another sandbox's answer, late
    assert loops.comes_again(POD)
    loops.came(POD, 2)
    loops.served(POD, 2)
    clock.advance(SOON_SECONDS + 1)
    assert not loops.comes_again(POD)
    clock.advance(WINDOW_SECONDS)
    assert not loops.comes_again(POD)


def test_a_pod_in_a_loop_comes_again_however_slowly() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(SANDBOXES):
        assert not loops.comes_again(POD)
        loops.came(POD, number + 1)
        loops.served(POD, number + 1)
        clock.advance(SOON_SECONDS + 1)
    assert loops.comes_again(POD)


def test_the_worst_comes_first() -> None:
    loops = CrashLoops(ManualClock().monotonic)
    for number in range(SANDBOXES + 1):
        loops.came(POD, number + 1)
        loops.came(OTHER, number + 1)
    loops.came(POD, 99)
    assert [loop.pod for loop in loops.all()] == [POD, OTHER]


def test_what_is_remembered_is_bounded() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(MOST_PODS + 10):
        loops.came(WorkloadId("shop", f"job-{number}"), 1)
    assert len(loops._pods) == MOST_PODS
    for number in range(crash_loops.MOST_TIMES * 2):
        loops.came(POD, number + 1)
    assert loops.all() == (CrashLoop(POD, crash_loops.MOST_TIMES),)
    clock.advance(WINDOW_SECONDS + 1)
    for number in range(10):
        loops.came(OTHER, number + 1)
    assert len(loops._pods) <= MOST_PODS - 9
