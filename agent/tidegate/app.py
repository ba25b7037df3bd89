"""Composition root: the only place that constructs and wires. Reads top to bottom like the picture in README.

file source -> Store ──┐
                       ├─> Cycle (compile, then appliers) ─> kernel tables, fast path, Envoy
CNI socket -> Registry ┘                                 └─> Status -> CNI reply, admin API, metrics
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
