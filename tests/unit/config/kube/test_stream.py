"""Answers cut into lines, events, pages and refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.sources.kube.decode import BrokenError
from tidegate.config.sources.kube.stream import Lines, RefusedError, event, page, refusal


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines) + b"rest"
    found, splitter, at = [], Lines(), 0
    while at < len(text):
        size = data.draw(st.integers(1, 30))
        found += splitter.feed(text[at : at + size])
        at += size
    assert found == [line for line in lines if line]


def test_a_line_without_end_is_given_up() -> None:
    lines = Lines(most=10)
    assert lines.feed(b"12345") == []
    with pytest.raises(BrokenError):
        lines.feed(b"678901")


def test_events() -> None:
    assert event(b'{"type":"ADDED","object":{"a":1}}').type == "ADDED"
    for line in (b"", b"{", b"[]", b"{}", b'{"type":1,"object":{}}', b"\xff", b"[" * 100000):
        with pytest.raises(BrokenError):
            event(line)
    with pytest.raises(RefusedError) as refused:
        event(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}')
    assert (refused.value.code, str(refused.value)) == (410, "410 Expired: too old")


def test_an_error_that_says_nothing_is_one_of_the_server() -> None:
    with pytest.raises(RefusedError) as refused:
        event(b'{"type":"ERROR","object":[]}')
    assert refused.value.code == 500


def test_pages() -> None:
    found = page(b'{"metadata":{"resourceVersion":"5","continue":"x"},"items":[{"a":1},{}]}')
    assert (len(found.items), found.revision, found.more) == (2, "5", "x")
    assert page(b'{"metadata":{},"items":null}').items == []
    with pytest.raises(BrokenError):
        page(b'{"metadata":{},"items":{}}')


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999"}, 120.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "9" * 5000}, 0.0),
        # The server's clock is years before ours: what counts is the difference of its own two times.
        ({"retry-after": "Fri, 27 Nov 2020 10:00:09 GMT", "date": "Fri, 27 Nov 2020 10:00:00 GMT"}, 9.0),
        ({"retry-after": "Fri, 27 Nov 2020 10:00:09 GMT"}, 0.0),
        ({"retry-after": "Fri, 27 Nov 2020 10:00:09", "date": "Fri, 27 Nov 2020 10:00:00 GMT"}, 0.0),
    ],
)
def test_how_long_a_server_asks_us_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert refusal(429, b"", headers).retry_after == seconds


def test_what_a_server_says_is_told_on_one_line() -> None:
    body = b'{"reason":"Forbidden","message":"not\\nyou","details":{"retryAfterSeconds":3}}'
    assert str(refusal(403, body, {})) == "403 Forbidden: not\\nyou"
    assert refusal(403, body, {}).retry_after == 3.0
    assert str(refusal(502, b"<html>bad</html>", {})) == "502: <html>bad</html>"
