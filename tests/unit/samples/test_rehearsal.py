"""Failures and delays on request: what the retry and timeout examples stand on."""

from __future__ import annotations

import time

import pytest
from tests.support.sample_service import Start

SCRIPTS = [("bookinfo/src/ratings.py", "/ratings/0"), ("httpbin/src/httpbin.py", "/flaky")]


@pytest.mark.parametrize(("script", "path"), SCRIPTS)
def test_fails_as_often_as_asked_then_works_then_starts_again(start: Start, script: str, path: str) -> None:
    service = start(script)
    for _ in range(2):
        seen = [service.ask(f"{path}?fail=2&key=k") for _ in range(3)]
        assert [status for status, _, _ in seen] == [503, 503, 200]
        assert [headers["x-attempt"] for _, headers, _ in seen] == ["1", "2", "3"]
    assert service.json(path)["attempt"] == 1


def test_attempts_of_different_requests_are_counted_apart(start: Start) -> None:
    service = start("bookinfo/src/ratings.py")
    wish = {"x-fail-times": "1", "x-fail-status": "500"}
    for request_id in ("a", "b"):
        assert service.ask("/ratings/0", headers={**wish, "x-request-id": request_id})[0] == 500
    for request_id in ("a", "b"):
        assert service.ask("/ratings/0", headers={**wish, "x-request-id": request_id})[0] == 200


@pytest.mark.parametrize("wish", [{}, {"x-delay": "0.3"}])
def test_waits_as_long_as_asked(start: Start, wish: dict[str, str]) -> None:
    service = start("bookinfo/src/ratings.py")
    started = time.monotonic()
    assert service.ask("/ratings/0" if wish else "/ratings/0?delay=0.3", headers=wish)[0] == 200
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("query", ["fail=x", "delay=soon", "fail=1&fail_status=200"])
def test_a_wish_that_makes_no_sense_is_a_400(start: Start, query: str) -> None:
    assert start("bookinfo/src/ratings.py").ask(f"/ratings/0?{query}")[0] == 400
