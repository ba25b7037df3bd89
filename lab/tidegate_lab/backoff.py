"""Growing pauses between attempts. Pure."""

from __future__ import annotations


class Backoff:
    """first, 2*first, 4*first ... up to maximum, in seconds."""

    def __init__(self, first: float, maximum: float) -> None:
        self._first = first
        self._maximum = maximum
        self._next = first

    def next(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self._maximum)
        return pause

    def reset(self) -> None:
        self._next = self._first
