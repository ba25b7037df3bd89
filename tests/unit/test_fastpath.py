"""Python's names for the engine's numbers are the engine's own."""

from __future__ import annotations

import errno
import os

import pytest
from tidegate._fastpath import ffi, lib

from tidegate.fastpath import CloseReason, FastPath
from tidegate.model.plan.relay import LoadBalancing
from tidegate.model.tier import Tier


def enum(name: str, prefix: str) -> dict[str, int]:
    """C enumerators without their prefix."""
    return {key.removeprefix(prefix): value for value, key in ffi.typeof(f"enum {name}").elements.items()}


def test_close_reasons_are_in_the_order_of_the_c_enum() -> None:
    numbers = enum("fp_reason", "FP_CLOSE_")
    assert numbers.pop("FP_REASON_COUNT") == len(CloseReason)
    assert numbers == {reason.name: number for number, reason in enumerate(CloseReason)}


def test_close_reasons_are_labelled_as_c_does() -> None:
    assert [ffi.string(lib.fp_reason_name(number)).decode() for number in range(len(CloseReason))] == list(CloseReason)
    assert ffi.string(lib.fp_reason_name(len(CloseReason))) == b"unknown"


def test_balancing_and_tiers_have_the_values_of_c() -> None:
    assert enum("fp_lb", "FP_LB_") == {policy.name: policy.value for policy in LoadBalancing}
    assert enum("tg_tier", "TG_TIER_") == {tier.name: tier.value for tier in Tier}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OSError, match="fast path") as refused:
        FastPath.start(flows_fd=-1, workers=1000)
    assert refused.value.errno == errno.EINVAL


def test_an_engine_without_pods_starts_and_stops() -> None:
    before = len(os.listdir("/proc/self/task"))
    engine = FastPath.start(flows_fd=-1, workers=2)
    assert len(os.listdir("/proc/self/task")) == before + 2
    assert (engine.generation, engine.stats().accepted) == (0, 0)
    engine.publish(7, ())
    assert engine.generation == 7
    engine.stop(0)
    engine.stop(0)
    assert len(os.listdir("/proc/self/task")) == before
    assert engine.stats().active == 0
