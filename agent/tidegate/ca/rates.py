"""How often each of many callers may ask. Pure; time is an argument."""

from __future__ import annotations

from collections import OrderedDict

MOST_KEYS = 10_000  # those that asked last; whoever is forgotten begins anew


class Rates:
    """A bucket for each key, full at first: burst calls at once, then so many in a second."""

    def __init__(self, each_second: float, burst: int) -> None:
        self._each_second = each_second
        self._burst = float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # calls left, and when: monotonic seconds

    def take(self, key: str, now: float) -> bool:
        """Count a call, if it is one that the key may make."""
        left = self._now(key, now)
        allowed = left >= 1
        self._left[key] = (left - 1 if allowed else left, now)
        self._left.move_to_end(key)
        while len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return allowed

    def exhausted(self, key: str, now: float) -> bool:
        """Whether the next call would be one too many."""
        return self._now(key, now) < 1

    def _now(self, key: str, now: float) -> float:
        left, then = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._each_second)
