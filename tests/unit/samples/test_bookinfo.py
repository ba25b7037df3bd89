"""Bookinfo as one application: who calls whom, what is passed on, and what a page says when something is missing."""

from __future__ import annotations

import html
import json
import re
import socket
import threading
from collections.abc import Callable

import pytest
from tests.support.eventually import HANG_SECONDS
from tests.support.sample_service import Running, Start

TRACE = {
    "x-request-id": "id-1",
    "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=value",
    "end-user": "jason",
}


def page(service: Running, headers: dict[str, str] | None = None) -> str:
    status, answered, body = service.ask("/productpage", headers=headers)
    assert status == 200
    assert answered["content-type"].startswith("text/html")
    return body.decode()


@pytest.mark.parametrize(("version", "colour"), [("v1", None), ("v2", "black"), ("v3", "red")])
def test_the_page_shows_the_stars_of_the_version_that_answered(
    bookinfo: Callable[[str], Running], version: str, colour: str | None
) -> None:
    text = page(bookinfo(version))
    assert f'data-reviews-version="{version}"' in text
    assert f"reviews-{version}-pod" in text
    assert re.findall(r"aria-label=\"(\d) of 5 (\w+) stars\"", text) == (
        [("5", colour), ("4", colour)] if colour else []
    )
    assert ("ratings-pod" in text) == (colour is not None)


def test_the_api_gives_the_same_as_json(bookinfo: Callable[[str], Running]) -> None:
    service = bookinfo("v3")
    assert service.json("/api/v1/products")[0]["title"] == "The Comedy of Errors"
    assert service.json("/api/v1/products/0")["author"] == "William Shakespeare"
    assert service.json("/api/v1/products/0/reviews")["version"] == "v3"
    assert service.json("/api/v1/products/0/ratings")["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}


def test_signing_in_sets_the_name_for_every_service_behind(start: Start) -> None:
    spy = start("httpbin/src/httpbin.py")
    front = start("bookinfo/src/productpage.py", DETAILS_URL=spy.url, REVIEWS_URL=spy.url, RATINGS_URL=spy.url)
    status, headers, _ = front.ask("/login", "POST", body=b"username=jason&passwd=x")
    assert (status, headers["location"]) == (303, "/productpage")
    cookie = headers["set-cookie"].split(";")[0]
    assert "jason" in page(front, {"cookie": cookie})
    assert "jason" in spy.terminate(), "no service behind was told who is signed in"


@pytest.mark.parametrize("name", [b"", b"a%0d%0ab", b"%3Cscript%3E", b"x" * 65])
def test_a_name_that_could_break_a_header_or_the_page_is_refused(start: Start, name: bytes) -> None:
    front = start("bookinfo/src/productpage.py")
    assert front.ask("/login", "POST", body=b"username=" + name)[0] == 400


def test_trace_headers_reach_the_last_service(start: Start) -> None:
    heard: list[str] = []
    with one_answer(heard, {"ratings": {}}) as url:
        reviews = start("bookinfo/src/reviews.py", SERVICE_VERSION="v2", RATINGS_URL=url)
        front = start("bookinfo/src/productpage.py", REVIEWS_URL=reviews.url)
        assert front.ask("/api/v1/products/0/reviews", headers={**TRACE, "x-private": "no"})[0] == 200
    lines = heard[0].lower().split("\r\n")
    for name, value in TRACE.items():
        assert f"{name}: {value}" in lines
    assert "x-private" not in heard[0].lower()


def test_a_silent_ratings_service_costs_the_stars_and_says_so(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        reviews = start("bookinfo/src/reviews.py", SERVICE_VERSION="v3", RATINGS_URL=url, RATINGS_TIMEOUT="0.2")
        patient = {"REVIEWS_URL": reviews.url, "REVIEWS_TIMEOUT": str(HANG_SECONDS)}
        front = start("bookinfo/src/productpage.py", **patient, DETAILS_URL=url, DETAILS_TIMEOUT="0.2")
        text = html.unescape(page(front))
    assert "Ratings are unavailable just now" in text
    assert "no answer within 0.2 s" in text
    assert "Reviewer2" in text
    assert "Details are unavailable just now" in text


def test_without_reviews_there_is_still_a_page_and_the_api_says_503(start: Start) -> None:
    details = start("bookinfo/src/details.py")
    front = start("bookinfo/src/productpage.py", DETAILS_URL=details.url, REVIEWS_URL="http://127.0.0.1:1")
    text = page(front)
    assert "Reviews are unavailable just now" in text
    assert "ConnectionRefusedError" in text
    assert "PublisherA" in text
    assert front.ask("/api/v1/products/0/reviews")[0] == 503


def test_what_services_say_is_escaped(start: Start) -> None:
    evil = {"version": "<script>", "podname": "<b>", "reviews": [{"reviewer": "<i>", "text": "<img>"}]}
    with one_answer([], evil) as url:
        front = start("bookinfo/src/productpage.py", REVIEWS_URL=url, DETAILS_URL="http://127.0.0.1:1")
        text = page(front)
    for tag in ("reviews <script>", "<b></span>", "<i></footer>", "<img>"):
        assert tag not in text
    assert "&lt;img&gt;" in text


def test_a_kept_connection_that_the_peer_closed_meanwhile_is_replaced(start: Start) -> None:
    details = start("bookinfo/src/details.py")
    front = start("bookinfo/src/productpage.py", DETAILS_URL=details.url)
    assert front.ask("/api/v1/products/0")[0] == 200
    details.terminate()
    start("bookinfo/src/details.py", PORT=str(details.port))
    assert front.ask("/api/v1/products/0")[0] == 200


def test_ratings_can_be_changed_within_limits(start: Start) -> None:
    ratings = start("bookinfo/src/ratings.py")
    assert ratings.ask("/ratings/7", "POST", body=b'{"A": 3}')[0] == 200
    assert ratings.json("/ratings/7")["ratings"] == {"A": 3}
    for wrong in (b"no", b"[1]", b'{"A": 6}', b'{"A": "5"}'):
        assert ratings.ask("/ratings/7", "POST", body=wrong)[0] == 400
    assert ratings.ask("/ratings/")[0] == ratings.ask("/other")[0] == 404


def test_ratings_tells_which_path_arrived(start: Start) -> None:
    ratings = start("bookinfo/src/ratings.py")
    for path in ("/ratings/0", "/v1/bookRatings", "/v1/bookRatings/0"):
        assert ratings.json(path)["path"] == path


class one_answer:  # noqa: N801 - used as a context manager, reads as a phrase
    """A service that records each request head in `heard` and answers all with the same JSON; gives its URL."""

    def __init__(self, heard: list[str], value: object) -> None:
        body = json.dumps(value).encode()
        self._answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        self._heard = heard
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=HANG_SECONDS)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    block = connection.recv(65536)
                    if not block:
                        break
                    head += block
                self._heard.append(head.decode())
                connection.sendall(self._answer)
