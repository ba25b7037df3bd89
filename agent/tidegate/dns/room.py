"""Descriptors for questions that are under way: one stock for all pods, of which each gets its part.

Sockets by which questions are handed on come and go with what pods ask, so a few pods that ask without end would have
all of them, and the others' questions would fail. A pod gets at most twice what is free, as everywhere on the node.
"""

from __future__ import annotations

import resource

_PART = 2  # the other half is for sockets that are there for each pod, and for our own


def descriptors_for_questions() -> int:
    """Of those that this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART


class Room:
    """How many are free. Use from one event loop."""

    def __init__(self, total: int) -> None:
        self.free = total

    def fits(self, mine: int, more: int = 1) -> bool:
        """Whether a pod that has some may have more of them."""
        return more <= self.free and mine + more <= _PART * self.free

    def take(self, count: int = 1) -> None:
        self.free -= count

    def give(self, count: int = 1) -> None:
        self.free += count
