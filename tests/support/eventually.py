"""Wait for the outside world: poll a condition with a deadline instead of sleeping and hoping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# By how much a machine is slower than those that the limits are for. Read here and nowhere else; 1 unless a runner that
# knows its machine (tests/kernels) says otherwise.
SLOWDOWN = float(os.environ.get("TIDEGATE_TEST_SLOWDOWN", "1"))


def eventually(check: Callable[[], T], what: str, timeout: float = 5.0, interval: float = 0.02) -> T:
    """Return the first truthy value of check(). AssertionErrors inside count as "not yet".

    timeout and interval are seconds; timeout is taken times SLOWDOWN. Raises AssertionError that names what was awaited
    and the last thing seen.
    """
    timeout *= SLOWDOWN
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what}; last seen: {last!r}")
        time.sleep(interval)  # the poll itself
