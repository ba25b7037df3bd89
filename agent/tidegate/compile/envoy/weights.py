"""Weights as Envoy takes them: those that stand side by side are 32 bits together. Pure.

Each is somebody's own field (a WorkloadEntry's, say), so no document can be refused for what all of them add up to.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 2**32 - 1  # of a locality's hosts, and of a priority's localities, together: Envoy refuses the service beyond


def fitting(weights: Sequence[int]) -> list[int]:
    """The same proportions within MOST, as well as whole numbers tell them; who had a weight keeps one."""
    total = sum(weights)
    if total <= MOST:
        return list(weights)
    room = MOST - len(weights)  # each may be rounded up to 1
    return [weight and max(1, weight * room // total) for weight in weights]
