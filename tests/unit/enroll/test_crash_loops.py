from __future__ import annotations

from tests.support.clock import ManualClock

from tidegate.enroll import crash_loops
from tidegate.enroll.crash_loops import (
    APART_SECONDS,
    FAST_SANDBOXES,
    MOST_PODS,
    SANDBOXES,
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


def test_who_comes_faster_than_any_runtime_lets_him_waits_and_is_told_so() -> None:
    clock = ManualClock()
    loops = CrashLoops(clock.monotonic)
    for number in range(FAST_SANDBOXES):
        assert loops.patience(POD) == 0
        loops.came(POD, number + 1)
        clock.advance(0.25)
    assert loops.patience(POD) == APART_SECONDS - 0.25
    assert loops.patience(OTHER) == 0
    assert "10 s apart" in loops.all()[0].reason
    clock.advance(APART_SECONDS)
    assert loops.patience(POD) == 0


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
