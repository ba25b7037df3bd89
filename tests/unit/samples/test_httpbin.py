"""httpbin, path by path."""

from __future__ import annotations

import json

import pytest
from tests.support.sample_service import Running, Start


@pytest.fixture
def httpbin(start: Start) -> Running:
    return start("httpbin/src/httpbin.py", POD_NAME="httpbin-pod")


@pytest.mark.parametrize("code", [200, 204, 304, 404, 418, 503])
def test_status_is_the_one_asked_for(httpbin: Running, code: int) -> None:
    assert httpbin.ask(f"/status/{code}")[0] == code


def test_status_draws_from_a_list(httpbin: Running) -> None:
    assert {httpbin.ask("/status/200,500")[0] for _ in range(30)} == {200, 500}


@pytest.mark.parametrize(
    "path", ["/status/abc", "/status/99", "/bytes/-1", "/bytes/x", "/stream/x", "/drip/x", "/delay/x"]
)
def test_an_argument_that_makes_no_sense_is_a_400(httpbin: Running, path: str) -> None:
    assert httpbin.ask(path)[0] == 400


def test_anything_mirrors_the_request(httpbin: Running) -> None:
    status, _, body = httpbin.ask("/anything/x?a=1&a=2&b=%20", "PUT", {"x-hello": "mesh", "host": "h:1"}, b"text")
    seen = json.loads(body)
    assert status == 200
    assert (seen["method"], seen["path"], seen["url"]) == ("PUT", "/anything/x", "http://h:1/anything/x?a=1&a=2&b=%20")
    assert (seen["args"], seen["data"], seen["headers"]["X-Hello"]) == ({"a": ["1", "2"], "b": " "}, "text", "mesh")


def test_repeated_headers_are_all_shown(httpbin: Running) -> None:
    connection = httpbin.connect()
    connection.putrequest("GET", "/headers")
    connection.putheader("x-added", "0")
    connection.putheader("x-added", "1")
    connection.endheaders()
    assert json.loads(connection.getresponse().read())["headers"]["X-Added"] == "0,1"
    connection.close()


def test_ip_prefers_what_the_proxy_in_front_says(httpbin: Running) -> None:
    assert httpbin.json("/ip") == {"origin": "127.0.0.1", "peer": "127.0.0.1"}
    assert httpbin.json("/ip", {"x-forwarded-for": "10.1.2.3"})["origin"] == "10.1.2.3"


def test_bytes_are_as_many_as_asked_and_the_same_each_time(httpbin: Running) -> None:
    first, second = (httpbin.ask("/bytes/70000?seed=3")[2] for _ in range(2))
    assert len(first) == 70000
    assert first == second != httpbin.ask("/bytes/70000?seed=4")[2]


def test_stream_is_chunked_lines(httpbin: Running) -> None:
    _, headers, body = httpbin.ask("/stream/4")
    assert headers["transfer-encoding"] == "chunked"
    assert [json.loads(line)["id"] for line in body.splitlines()] == [0, 1, 2, 3]


def test_redirects_lead_to_get(httpbin: Running) -> None:
    path, hops = "/redirect/3", 0
    while (answer := httpbin.ask(path))[0] == 302:
        path, hops = answer[1]["location"], hops + 1
    assert (answer[0], path, hops) == (200, "/get", 3)


def test_response_headers_cannot_be_smuggled(httpbin: Running) -> None:
    _, headers, _ = httpbin.ask("/response-headers?x-a=1&x-b=2%0d%0ax-c:%203")
    assert (headers["x-a"], headers["x-b"]) == ("1", "2  x-c: 3")
    assert "x-c" not in headers


def test_a_method_room_refuses_other_methods(httpbin: Running) -> None:
    assert httpbin.ask("/get", "POST")[0] == 405
    assert httpbin.ask("/post", "POST")[0] == 200
