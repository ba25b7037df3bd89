"""Python's names for the relay's numbers are the relay's own."""

from __future__ import annotations

from tidegate.model.plan.relay import LoadBalancing
from tidegate.model.tier import Tier
from tidegate.relay.abi import ffi, lib
from tidegate.relay.connection import RelayState
from tidegate.relay.events import CloseReason


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


def test_balancing_tiers_and_states_have_the_values_of_c() -> None:
    assert enum("fp_lb", "FP_LB_") == {policy.name: policy.value for policy in LoadBalancing}
    assert enum("tg_tier", "TG_TIER_") == {tier.name: tier.value for tier in Tier}
    assert enum("fp_relay_state", "FP_") == {state.name: state.value for state in RelayState}


def test_the_core_of_the_protocol_is_what_it_was() -> None:
    """An agent of any version drains a relay of any other with these: numbers and sizes never change."""
    assert {number: number for number in range(1, 6)} == {
        lib.FP_HELLO: 1,
        lib.FP_SANDBOXES: 2,
        lib.FP_HAND_OVER: 3,
        lib.FP_DRAIN: 4,
        lib.FP_STOP: 5,
    }
    sizes = {
        "struct fp_head": 16,
        "struct fp_ask_hello": 24,
        "struct fp_told_hello": 32,
        "struct fp_ask_sandboxes": 24,
        "struct fp_told_sandboxes": 16,
        "struct fp_sandbox_row": 16,
        "struct fp_ask_sandbox": 24,
        "struct fp_told_sandbox": 32,
        "struct fp_ask_drain": 24,
    }
    assert {kind: ffi.sizeof(kind) for kind in sizes} == sizes
