"""A bound on the processor time of one input, which a busy machine cannot use up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


@pytest.fixture
def within() -> Callable[[float], None]:
    """Fails if the process computed for longer than this many seconds since the last call (or the test's start)."""
    last = time.process_time()

    def check(seconds: float) -> None:
        nonlocal last
        now = time.process_time()
        assert now - last < seconds, f"{now - last:.2f} s for one input"
        last = time.process_time()

    return check
