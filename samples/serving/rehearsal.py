"""Failures and delays on request, so that retries and timeouts can be watched with a service that is otherwise well.

    ?fail=2  or  x-fail-times: 2     the first two requests with the same key answer 503 (?fail_status=500 for another)
    ?delay=1.5  or  x-delay: 1.5     wait that many seconds before answering (at most 60)

The key is ?key= or x-fail-key, else x-request-id: a proxy that retries sends the same one again. After the first
success the key is forgotten, so the same command can be typed again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from service import Request, Response, json_response

KEYS_KEPT = 4096
LONGEST_DELAY = 60.0


class Rehearsal:
    """Counts attempts per key; bounded, the least recently used key is forgotten first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def before(self, request: Request) -> tuple[Response | None, int]:
        """(the failure to send instead of an answer, or None; which attempt this is, from 1).

        A number that cannot be read gives a 400.
        """
        try:
            delay = float(request.arg("delay") or request.header("x-delay", "0"))
            failures = int(request.arg("fail") or request.header("x-fail-times", "0"))
            status = int(request.arg("fail_status") or request.header("x-fail-status", "503"))
        except ValueError as error:
            return json_response({"error": f"cannot read the wish: {error}"}, 400), 1
        if not 400 <= status <= 599:
            return json_response({"error": f"fail_status {status} is not in 400..599"}, 400), 1
        if delay > 0:
            time.sleep(min(delay, LONGEST_DELAY))
        if failures <= 0:
            return None, 1
        attempt = self._attempt(self.key(request), failures)
        if attempt <= failures:
            body = {"error": f"attempt {attempt} of {failures} that shall fail", "attempt": attempt}
            return json_response(body, status, [("x-attempt", str(attempt))]), attempt
        return None, attempt

    @staticmethod
    def key(request: Request) -> str:
        """What makes two requests attempts of the same thing."""
        return request.arg("key") or request.header("x-fail-key") or request.header("x-request-id") or request.target

    def _attempt(self, key: str, failures: int) -> int:
        with self._lock:
            attempt = self._seen.pop(key, 0) + 1
            if attempt <= failures:
                self._seen[key] = attempt
                if len(self._seen) > KEYS_KEPT:
                    self._seen.popitem(last=False)
            return attempt
