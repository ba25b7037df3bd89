"""Bounds for what is left to chance, with a known probability of a false alarm."""

from __future__ import annotations

import math

FALSE_ALARM = 1e-10  # of one side of one bound


def binomial(count: int, share: float, false_alarm: float = FALSE_ALARM) -> range:
    """How many of `count` independent draws of probability `share` may hit: a right draw is below the range, and above
    it, with a probability of at most `false_alarm` each. Exact: sums of the distribution itself.
    """
    below, low = 0.0, -1
    while below <= false_alarm:
        low += 1
        below += _exactly(low, count, share)
    above, high = 0.0, count + 1
    while above <= false_alarm:
        high -= 1
        above += _exactly(high, count, share)
    return range(low, high + 1)


def _exactly(hits: int, count: int, share: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(ways + hits * math.log(share) + (count - hits) * math.log1p(-share))
