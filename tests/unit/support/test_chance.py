"""The bounds that tests of chance stand on, against the distribution itself."""

from __future__ import annotations

from math import comb

import pytest
from tests.support.chance import binomial


@pytest.mark.parametrize(("count", "share"), [(10, 0.5), (60, 0.25), (500, 0.1)])
def test_what_is_outside_is_as_rare_as_said_and_not_rarer(count: int, share: float) -> None:
    odds = [comb(count, n) * share**n * (1 - share) ** (count - n) for n in range(count + 1)]
    allowed = binomial(count, share, false_alarm=1e-2)
    for outside, next_one in (
        (range(allowed.start), allowed.start),
        (range(allowed.stop, count + 1), allowed.stop - 1),
    ):
        rare = sum(odds[n] for n in outside)
        assert rare <= 1e-2 < rare + odds[next_one]


def test_three_points_at_eight_thousand_requests() -> None:
    """What README and the tour say of 75/25."""
    allowed = binomial(8000, 0.75, false_alarm=1e-9)
    assert allowed.start > 0.72 * 8000
    assert allowed.stop - 1 < 0.78 * 8000
