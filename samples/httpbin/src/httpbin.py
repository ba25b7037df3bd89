"""httpbin: an HTTP service that does what it is asked and tells what it received.

/get /post /put /patch /delete /anything[/...]   the request as JSON (also /headers /ip /user-agent alone)
/status/CODE[,CODE...]                           that status; one of them at random
/delay/SECONDS                                   the request as JSON after a while (at most 60 s)
/bytes/N  /stream/N  /drip/N                     N bytes; N JSON lines in chunks; N bytes, one each 0.1 s
/redirect/N  /redirect-to?url=&status=           a chain of N redirects; one redirect
/response-headers?name=value                     an answer with these headers
/flaky?fail=N&key=K                              fails N times, then works (every path takes fail and delay:
                                                 serving/rehearsal.py)
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator

from rehearsal import LONGEST_DELAY, Rehearsal
from service import Request, Response, Service, json_response, pod_name

MOST_BYTES = 100 * 1024 * 1024
MOST_LINES = 1000
rehearsal = Rehearsal()


def described(request: Request, attempt: int = 1) -> dict[str, object]:
    """The request as the pod got it."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        shown = "-".join(part.capitalize() for part in name.split("-"))
        headers[shown] = f"{headers[shown]},{value}" if shown in headers else value
    return {
        "method": request.method,
        "path": request.path,
        "args": {name: values[0] if len(values) == 1 else values for name, values in request.query.items()},
        "headers": headers,
        "origin": origin(request),
        "peer": request.peer,
        "url": f"http://{request.header('host')}{request.target}",
        "data": request.body.decode("utf-8", "backslashreplace"),
        "podname": pod_name(),
        "attempt": attempt,
    }


def origin(request: Request) -> str:
    """The client: what a proxy in front said of it, else the peer of the connection."""
    return request.header("x-forwarded-for") or request.peer


def status(request: Request, rest: str) -> Response:
    """The asked-for status, with a word about it."""
    code = random.choice([int(text) for text in rest.split(",")])
    if not 200 <= code <= 599:
        raise ValueError(f"status {code} is not in 200..599")
    extra = [("location", "/redirect/1")] if code in (301, 302, 303, 307, 308) else []
    return json_response({"status": code, "podname": pod_name()}, code, extra)


def delay(request: Request, rest: str) -> Response:
    """The request as JSON, late."""
    time.sleep(min(max(float(rest), 0.0), LONGEST_DELAY))
    return json_response(described(request))


def some_bytes(request: Request, rest: str) -> Response:
    """N bytes, the same ones for the same seed."""
    count = int(rest)
    if not 0 <= count <= MOST_BYTES:
        raise ValueError(f"{count} is not in 0..{MOST_BYTES}")
    body = random.Random(request.arg("seed", "0")).randbytes(count)
    return Response(200, body, "application/octet-stream")


def stream(request: Request, rest: str) -> Response:
    """N JSON lines, each its own chunk."""

    def lines() -> Iterator[bytes]:
        for number in range(min(int(rest), MOST_LINES)):
            yield json.dumps({"id": number, "podname": pod_name()}).encode() + b"\n"

    int(rest)
    return Response(200, stream=lines())


def drip(request: Request, rest: str) -> Response:
    """N bytes, slowly."""

    def drops() -> Iterator[bytes]:
        for _ in range(min(int(rest), MOST_LINES)):
            yield b"*"
            time.sleep(0.1)

    int(rest)
    return Response(200, content_type="text/plain", stream=drops())


def redirect(request: Request, rest: str) -> Response:
    """N redirects that end at /get."""
    left = int(rest)
    return Response(302, headers=[("location", f"/redirect/{left - 1}" if left > 1 else "/get")])


WITH_ARGUMENT: dict[str, Callable[[Request, str], Response]] = {
    "status": status,
    "delay": delay,
    "bytes": some_bytes,
    "stream": stream,
    "drip": drip,
    "redirect": redirect,
}
METHOD_ROOMS = ("get", "post", "put", "patch", "delete")


def handle(request: Request) -> Response:
    """Route one request."""
    failure, attempt = rehearsal.before(request)
    if failure is not None:
        return failure
    room, _, rest = request.path.strip("/").partition("/")
    if room in WITH_ARGUMENT and rest:
        try:
            return WITH_ARGUMENT[room](request, rest)
        except ValueError as error:
            return json_response({"error": str(error)}, 400)
    if room in METHOD_ROOMS and request.method not in (room.upper(), "HEAD"):
        return json_response({"error": f"/{room} takes {room.upper()} only"}, 405, [("allow", room.upper())])
    whole = described(request, attempt)
    if room in METHOD_ROOMS or room in ("anything", "flaky"):
        return json_response(whole, headers=[("x-attempt", str(attempt))])
    match room:
        case "headers":
            return json_response({"headers": whole["headers"]})
        case "ip":
            return json_response({"origin": whole["origin"], "peer": request.peer})
        case "user-agent":
            return json_response({"user-agent": request.header("user-agent")})
        case "response-headers":
            wanted = [(name, clean(value)) for name, values in request.query.items() for value in values]
            return json_response(dict(wanted), headers=[(clean(name), value) for name, value in wanted])
        case "redirect-to":
            return Response(int(request.arg("status", "302")), headers=[("location", clean(request.arg("url", "/")))])
        case "":
            return Response(200, (__doc__ or "").encode(), "text/plain; charset=utf-8")
        case _:
            return json_response({"error": f"no such path: {request.path}"}, 404)


def clean(text: str) -> str:
    """A header value without line breaks, which would start another header."""
    return text.replace("\r", " ").replace("\n", " ")


if __name__ == "__main__":
    Service("httpbin", handle, int(os.environ.get("PORT", "8080"))).run()
