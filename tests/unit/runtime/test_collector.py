"""The collector is off while values are made, and on again whatever happens."""

from __future__ import annotations

import gc

import pytest

from tidegate.runtime.collector import importing, paused, settle


def test_pauses_may_be_nested_and_end_with_an_error() -> None:
    def work() -> None:
        with paused():
            with paused():
                assert not gc.isenabled()
            assert not gc.isenabled(), "the outer pause goes on"
            raise ValueError("x")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"):
        work()
    assert gc.isenabled()


def test_what_settled_is_not_walked_again() -> None:
    try:
        settle()
        assert gc.get_freeze_count() > 1000
        before = len(gc.get_objects())
        kept = [[] for _ in range(100)]  # type: ignore[var-annotated]
        assert len(gc.get_objects()) >= before + len(kept), "what comes later is"
    finally:
        gc.unfreeze()


def test_what_is_imported_is_not_walked_meanwhile_nor_later() -> None:
    try:
        before = gc.get_freeze_count()
        with importing():
            assert not gc.isenabled()
            assert gc.get_freeze_count() == before
        assert gc.isenabled()
        assert gc.get_freeze_count() > before + 1000
    finally:
        gc.unfreeze()
