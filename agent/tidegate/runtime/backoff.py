"""How long to wait before the next attempt. Pure; luck is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def no_jitter() -> float:
    """For one who retries alone: nobody else waits in the same rhythm."""
    return 0.0


@dataclass(slots=True)
class Backoff:
    """Doubles from base to cap seconds; starts over once an attempt lasted reset_after seconds."""

    jitter: Callable[[], float]  # in [0, 1); a delay is shortened by up to half of itself
    base: float = 0.1
    cap: float = 30.0
    reset_after: float = 10.0
    _failures: int = 0

    def next(self, lasted: float) -> float:
        """Seconds to wait after an attempt that lasted so many seconds."""
        if lasted >= self.reset_after:
            self._failures = 0
        delay = min(self.cap, self.base * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (1.0 - 0.5 * self.jitter())
