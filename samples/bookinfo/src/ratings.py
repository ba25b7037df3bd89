"""ratings: stars per reviewer. GET /ratings/ID, and POST /ratings/ID {"Reviewer1": 3} to change them.

/v1/bookRatings[/ID] is the same under the name that the redirect and rewrite examples use; the answer says which path
arrived.

It can fail or be slow on request: see serving/rehearsal.py. The answer tells which attempt it was.
"""

from __future__ import annotations

import json
import os
import re
import threading

from rehearsal import Rehearsal
from service import Request, Response, Service, json_response, pod_name

VERSION = os.environ.get("SERVICE_VERSION", "v1")
PATH = re.compile(r"/(ratings/(?=\d)|v1/bookRatings/?)(?P<id>\d{0,9})/?")
rehearsal = Rehearsal()
lock = threading.Lock()
stars: dict[str, dict[str, int]] = {"0": {"Reviewer1": 5, "Reviewer2": 4}}


def handle(request: Request) -> Response:
    """Read or change the stars of one product."""
    found = PATH.fullmatch(request.path)
    if not found:
        return json_response({"error": "try /ratings/0", "path": request.path}, 404)
    number = found["id"] or "0"
    failure, attempt = rehearsal.before(request)
    if failure is not None:
        return failure
    if request.method == "POST":
        return change(number, request.body)
    with lock:
        given = dict(stars.get(number, stars["0"]))
    body = {"id": int(number), "ratings": given, "podname": pod_name(), "version": VERSION}
    return json_response({**body, "path": request.path, "attempt": attempt}, headers=[("x-attempt", str(attempt))])


def change(number: str, body: bytes) -> Response:
    """Store new stars; 400 unless the body is an object of numbers 0..5."""
    try:
        wanted = json.loads(body)
    except ValueError as error:
        return json_response({"error": f"not JSON: {error}"}, 400)
    if not isinstance(wanted, dict) or not all(type(n) is int and 0 <= n <= 5 for n in wanted.values()):
        return json_response({"error": 'expected {"reviewer": 0..5}'}, 400)
    with lock:
        stars[number] = {str(name): count for name, count in wanted.items()}
        return json_response({"id": int(number), "ratings": stars[number]})


if __name__ == "__main__":
    Service(f"ratings-{VERSION}", handle, int(os.environ.get("PORT", "9080"))).run()
