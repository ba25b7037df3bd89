"""Counters over time -> rates and short series. Pure; time is an argument.

Invariant: a rate is only told between two samples that both had its source, at most GAP seconds apart; a counter that
fell was reset, so its new value is what happened since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Key = tuple[str, ...]  # (source, name...)

WINDOW: Final = 10.0  # seconds that a rate is the mean of
SPAN: Final = 180.0  # seconds of a series
GAP: Final = 15.0  # nobody looked for so long: what was before says nothing about now


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. A source that did not answer is not in sources; a counter of one that did and is absent is 0."""

    at: float  # monotonic seconds
    sources: frozenset[str]
    counters: Mapping[Key, float]
    charted: Mapping[str, Key | float]  # series: a counter whose rate is drawn, or a value drawn as it is


class History:
    """Remembers whole samples for WINDOW, and the charted ones as points for SPAN."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._points: deque[tuple[float, dict[str, float | None]]] = deque()

    def add(self, sample: Sample) -> None:
        """Take in a newer sample."""
        last = self._samples[-1] if self._samples else None
        if last is not None and sample.at - last.at > GAP:
            self._samples.clear()
            self._points.clear()
            last = None
        self._samples.append(sample)
        while sample.at - self._samples[0].at > WINDOW and len(self._samples) > 2:
            self._samples.popleft()
        if last is not None:
            point = {
                name: _rate(last, sample, what) if isinstance(what, tuple) else what
                for name, what in sample.charted.items()
            }
            self._points.append((sample.at, point))
        while self._points and sample.at - self._points[0][0] > SPAN:
            self._points.popleft()

    def rate(self, key: Key) -> float | None:
        """Per second over the last WINDOW; None while there is nothing to compare with."""
        return _rate(self._samples[0], self._samples[-1], key) if len(self._samples) > 1 else None

    @property
    def window(self) -> float:
        """Seconds that rates are about just now."""
        return self._samples[-1].at - self._samples[0].at if self._samples else 0.0

    def series(self, name: str) -> list[list[float | None]]:
        """Points [seconds before the newest sample, value], oldest first."""
        newest = self._samples[-1].at if self._samples else 0.0
        return [[round(at - newest, 1), _short(point.get(name))] for at, point in self._points]


def _rate(old: Sample, new: Sample, key: Key) -> float | None:
    if key[0] not in old.sources or key[0] not in new.sources or new.at <= old.at:
        return None
    before, now = old.counters.get(key, 0.0), new.counters.get(key, 0.0)
    return (now - before if now >= before else now) / (new.at - old.at)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
