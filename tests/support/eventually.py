"""Wait for the outside world: poll a condition with a deadline instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], what: str, timeout: float = 5.0, interval: float = 0.02) -> T:
    """Return the first truthy value of check(). AssertionErrors inside count as "not yet".

    timeout and interval are seconds. Raises AssertionError that names what was awaited and the last thing seen.
    """
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
