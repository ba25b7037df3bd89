"""What is needed is said once; giving up is proved on the live agent: tests/stories/hostile/test_least_privilege.py."""

from __future__ import annotations

import os

from tidegate.linux.capabilities import NEEDED, held, missing, why

ALL = (1 << 41) - 1


def test_a_missing_capability_is_found_by_its_bit() -> None:
    assert missing(ALL) == []
    assert missing(0) == list(NEEDED)
    for capability in NEEDED:
        assert missing(ALL & ~(1 << capability.number)) == [capability]


def test_reasons_are_given_and_what_is_not_needed_is_called_so() -> None:
    assert all(why(capability.name) == capability.why for capability in NEEDED)
    assert why("capability 1") == "not needed"


def test_held_reads_a_live_process_and_is_empty_for_none() -> None:
    if os.geteuid() == 0:
        assert {c.name for c in NEEDED} <= set(held(os.getpid()))
    else:
        assert held(os.getpid()) == []
    assert held(1 << 22) == []
