"""Who serves a destination."""

from __future__ import annotations

from enum import IntEnum


class Tier(IntEnum):
    """Who serves a destination; values equal enum tg_tier (a test compares them)."""

    DIRECT = 1
    FASTPATH = 2
    ENVOY = 3
    REFUSE = 4  # nobody: connect() fails
