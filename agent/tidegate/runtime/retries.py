"""Items that were refused, and when each is due again. Pure; time and luck are arguments.

The one policy of the agent for what may succeed later: each item has a back-off of its own, so that one that never
succeeds costs little and delays nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from tidegate.runtime.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class Retries(Generic[K]):
    """Times are monotonic seconds. An item that nobody refused is due at any time."""

    def __init__(self, first: float, longest: float, jitter: Callable[[], float]) -> None:
        """first, longest: seconds until the next attempt; jitter: see Backoff."""
        self._first, self._longest, self._jitter = first, longest, jitter
        self._backoffs: dict[K, Backoff] = {}
        self._due: dict[K, float] = {}

    def refused(self, key: K, now: float) -> None:
        """Count a refusal; the next attempt is due a while after now."""
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(self._jitter, self._first, self._longest, reset_after=float("inf"))
        self._due[key] = now + backoff.next(0.0)

    def waits(self, key: K, now: float) -> bool:
        """Whether it is too early for another attempt."""
        return self._due.get(key, now) > now

    def forget(self, key: K) -> None:
        """It succeeded, or is not wanted any more, or what it failed for has changed."""
        self._due.pop(key, None)
        self._backoffs.pop(key, None)

    def keep(self, current: Iterable[K]) -> None:
        """Forget all others."""
        for key in self._backoffs.keys() - set(current):
            self.forget(key)

    def next_due(self) -> float | None:
        """Time of the earliest attempt, None if there is none."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[K]:
        """Items whose time has come; each is due again only after another refusal."""
        ready = [key for key, due in self._due.items() if due <= now]
        for key in ready:
            del self._due[key]
        return ready
