"""Connections to pods that policies are for: a line for those that are refused or cut, with who called whom and why."""

from __future__ import annotations

import logging

from tidegate.relay.events import FlowEvent
from tidegate.runtime.clock import Clock

log = logging.getLogger("tidegate.policy")

LINES_A_SECOND, LINES_AT_ONCE = 20.0, 200.0  # whoever knocks without end must not fill the log


class Refusals:
    """Logs what was refused, within its bounds. What was left out is told with the next line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._room = LINES_AT_ONCE
        self._filled_at = clock.monotonic()
        self._left_out = 0

    def observe(self, flow: FlowEvent, source: tuple[str, str], destination: tuple[str, str], policy: str) -> None:
        """source, destination: (namespace, workload), empty if unknown. policy: NAMESPACE/NAME, "" = none."""
        if not flow.reason.refuses or not flow.connections:
            return
        now = self._clock.monotonic()
        self._room = min(LINES_AT_ONCE, self._room + (now - self._filled_at) * LINES_A_SECOND)
        self._filled_at = now
        if self._room < 1:
            self._left_out += 1
            return
        self._room -= 1
        left_out, self._left_out = self._left_out, 0
        log.warning(
            "%s: policy=%s src=%s:%d (%s) dst=%s:%d (%s) connections=%d%s",
            flow.reason,
            policy or "-",
            flow.client,
            flow.client_port,
            "/".join(source) if any(source) else "no identity",
            flow.dst or "-",
            flow.dst_port,
            "/".join(destination),
            flow.connections,
            f", {left_out} more lines left out" if left_out else "",
        )
