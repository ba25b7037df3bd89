"""When to offer a refused listener again. Pure.

What makes Envoy refuse a listener is often outside the configuration (its port is taken inside the pod, its netns is
not there yet), so unlike other content it is tried again, at ever longer intervals.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.xds.encode import Rejection

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0


class Retries:
    """Refused content by name and version, and when each is due."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}
        self._delays: dict[tuple[str, str], float] = {}

    def refused(self, rejection: Rejection, now: float) -> None:
        """Count a refusal; the next attempt is due a while after now (monotonic seconds)."""
        key = (rejection.name, rejection.version)
        delay = min(LONGEST_SECONDS, self._delays.get(key, FIRST_SECONDS / 2) * 2)
        self._delays[key] = delay
        self._due[key] = now + delay

    def keep(self, current: Iterable[tuple[str, str]]) -> None:
        """Forget content that is not published any more."""
        known = set(current)
        self._due = {key: due for key, due in self._due.items() if key in known}
        self._delays = {key: delay for key, delay in self._delays.items() if key in known}

    def next_due(self) -> float | None:
        """Monotonic time of the earliest attempt, None if there is none."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[str]:
        """Names whose time has come; each is due again only after another refusal."""
        ready = [key for key, due in self._due.items() if due <= now]
        for key in ready:
            del self._due[key]
        return [name for name, _ in ready]
