"""Wait for the outside world: poll a condition instead of sleeping and hoping.

No test judges seconds: how fast something is says `make bench`. What a test waits for either happens or does not, and
HANG_SECONDS only decides when it is given up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# More than ten times what the slowest step of a story takes on two busy cores. Read here and nowhere else; runners that
# know better say so: an emulated kernel is slower (tests/kernels), and where tests are meant to fail (tests/mutants)
# nobody wants to wait.
HANG_SECONDS = float(os.environ.get("TIDEGATE_TEST_HANG_SECONDS", "180"))


def eventually(check: Callable[[], T], what: str, *, interval: float = 0.02) -> T:
    """Return the first truthy value of check(). AssertionErrors inside count as "not yet".

    interval: seconds between two looks. Raises AssertionError that names what was awaited and the last thing seen.
    """
    deadline = time.monotonic() + HANG_SECONDS
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
            raise AssertionError(f"not within {HANG_SECONDS:.0f} s: {what}; last seen: {last!r}")
        time.sleep(interval)  # the poll itself
