"""One line of JSON for each answer of an authority: who got what, or why not. Nothing secret is in it."""

from __future__ import annotations

import json
import logging

from tidegate.ca.issuing import Issued
from tidegate.observe.certificates import time_of
from tidegate.runtime.clock import Clock

NAME = "tidegate.audit"
_log = logging.getLogger(NAME)


class Audit:
    """Writes to the log of its own name (audit.NAME)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, issued: Issued) -> None:
        """Fields are there when they are known. Times are RFC 3339."""
        line = {
            "time": time_of(self._clock.now()),
            "outcome": str(issued.refusal) if issued.refusal else "issued",
            "peer": issued.peer,
            "caller": issued.caller,
            "identity": issued.identity,
            "serial": issued.serial,
            "expires": time_of(issued.expires) if issued.expires else "",
            "reason": issued.reason,
        }
        _log.info("%s", json.dumps({key: value for key, value in line.items() if value}))
