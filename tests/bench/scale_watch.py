"""What a pod of the scale benchmark sees: `scale_watch.py`, standard library only, one JSON object per line each way.

{"do": "until", "url": [ADDRESS, PORT, HOST], "header": NAME, "value": V}   asks on a kept-alive connection; answers
    {"ready": true} once there was an answer, and {"at": monotonic seconds, "requests": N} when the header has the value
{"do": "first", "url": ...}      {"first_ms": ..., "again_ms": ...}: a new connection with a request, twice
{"do": "served", "url": ...}     {"at": ...}: when a request on a fresh connection has status 200, after however many
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from typing import Any

PACE_SECONDS = 0.002  # between two requests: the resolution of "until" and "served"
Url = tuple[str, int, str]
kept: dict[Url, http.client.HTTPConnection] = {}


def ask(connection: http.client.HTTPConnection, host: str) -> http.client.HTTPResponse:
    connection.request("GET", "/", headers={"Host": host})
    response = connection.getresponse()
    response.read()
    return response


def fresh(url: Url) -> float:
    """One request on a connection of its own. Milliseconds."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(url[0], url[1], timeout=60)
    try:
        status = ask(connection, url[2]).status
    finally:
        connection.close()
    if status != 200:
        raise http.client.HTTPException(f"{url[2]}: status {status}")
    return (time.monotonic() - begun) * 1000


def until(url: Url, header: str, value: str) -> dict[str, Any]:
    connection = kept.setdefault(url, http.client.HTTPConnection(url[0], url[1], timeout=60))
    ask(connection, url[2])
    print(json.dumps({"ready": True}), flush=True)
    requests = 0
    while True:
        response = ask(connection, url[2])
        requests += 1
        if response.status != 200:
            raise http.client.HTTPException(f"{url[2]}: status {response.status} after {requests} requests")
        if response.getheader(header) == value:
            return {"at": time.monotonic(), "requests": requests}
        time.sleep(PACE_SECONDS)


def served(url: Url) -> dict[str, Any]:
    while True:
        try:
            fresh(url)
            return {"at": time.monotonic()}
        except (OSError, http.client.HTTPException):
            time.sleep(PACE_SECONDS)


def main() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        url: Url = tuple(told["url"])
        try:
            if told["do"] == "until":
                answer = until(url, told["header"], told["value"])
            elif told["do"] == "first":
                answer = {"first_ms": fresh(url), "again_ms": fresh(url)}
            else:
                answer = served(url)
        except (OSError, http.client.HTTPException) as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
