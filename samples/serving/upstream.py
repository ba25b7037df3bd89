"""Calls from one sample service to the next: kept-alive connections, timeouts, trace headers passed on."""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from service import Request

# A proxy can only join the spans of one user request if the services between hand these on; the mesh cannot do it for
# them. end-user is the sample's own: routing examples match on it several hops behind the sign-in.
PASSED_ON = (
    "x-request-id",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "traceparent",
    "tracestate",
    "baggage",
    "user-agent",
    "end-user",
)
IDLE_KEPT = 8


class UpstreamError(Exception):
    """The service behind did not give a usable answer; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A JSON answer of the service behind and how long it took, in milliseconds."""

    status: int
    value: Any
    milliseconds: float
    headers: dict[str, str]


def passed_on(request: Request) -> dict[str, str]:
    """The headers of an incoming request that belong on every call made because of it."""
    return {name: value for name in PASSED_ON if (value := request.header(name))}


class Upstream:
    """One service behind this one, at `url` (http://host:port).

    `timeout` is in seconds and bounds each wait for the peer (connect, first byte, more bytes).
    """

    def __init__(self, name: str, url: str, *, timeout: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self.name, self.url, self.timeout = name, url, timeout
        self._host, self._port = parts.hostname or "localhost", parts.port or 80
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=IDLE_KEPT)

    def get(self, path: str, headers: dict[str, str]) -> Reply:
        """GET a JSON document; raises UpstreamError on a timeout, a refusal, a status of 400 or more or a bad body."""
        started = time.monotonic()
        try:
            status, body, answered = self._exchange(path, headers)
        except TimeoutError as error:
            raise UpstreamError(f"no answer within {self.timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise UpstreamError(f"{type(error).__name__}: {error}") from error
        if status >= 300:
            raise UpstreamError(f"answered {status}: {body[:120].decode(errors='replace').strip()}")
        try:
            value = json.loads(body)
        except ValueError as error:
            raise UpstreamError(f"answered {status} with a body that is not JSON") from error
        return Reply(status, value, (time.monotonic() - started) * 1000, answered)

    def _exchange(self, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        while self._idle:
            connection = self._idle.pop()
            try:
                return self._ask(connection, path, headers)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                # The peer closed it while it was idle. A GET may be sent again; on a new connection an error counts.
                continue
        return self._ask(http.client.HTTPConnection(self._host, self._port, timeout=self.timeout), path, headers)

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, body, {name.lower(): value for name, value in response.getheaders()}
