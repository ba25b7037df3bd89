"""details: facts about a book. GET /details/ID."""

from __future__ import annotations

import os

from service import Request, Response, Service, json_response, pod_name

VERSION = os.environ.get("SERVICE_VERSION", "v1")
BOOKS = {
    "0": {
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "author": "William Shakespeare",
        "year": 1595,
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    },
}


def handle(request: Request) -> Response:
    """The one document that this service has."""
    room, _, number = request.path.strip("/").partition("/")
    if room != "details" or not number.isdigit():
        return json_response({"error": "try /details/0"}, 404)
    book = BOOKS.get(number, BOOKS["0"])
    return json_response({"id": int(number), **book, "podname": pod_name(), "version": VERSION})


if __name__ == "__main__":
    Service(f"details-{VERSION}", handle, int(os.environ.get("PORT", "9080"))).run()
