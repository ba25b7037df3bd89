"""`tidegate explain` against a running agent: what it says is what the wire shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.lab import Lab

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web }
spec:
  hosts: [web]
  http:
    - match: [{ headers: { end-user: { exact: jason } } }]
      route: [{ destination: { host: web, subset: v2 } }]
    - route: [{ destination: { host: web, subset: v1 } }]
"""


def explained(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    done = lab.tidegate("explain", *words, "-o", "json", "--run-dir", lab.node_dirs()[0], check=False)
    assert done.returncode == code, done.stdout + done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@pytest.mark.parametrize(("user", "line", "subset"), [("jason", 8, "v2"), ("sue", 10, "v1")])
def test_http_names_file_line_and_the_endpoints_that_answer(web_lab: Lab, user: str, line: int, subset: str) -> None:
    file = web_lab.run_dir / "applied-by-test.yaml"
    web_lab.apply(RULE)
    try:
        told = explained(web_lab, "default/client", "web", "--header", f"end-user: {user}")
        assert (told["tier"], told["verdict"]) == ("envoy", "allow")
        assert (told["rule"]["file"], told["rule"]["line"]) == (str(file), line)
        assert told["destination"]["subset"] == subset
        answered = web_lab.ask("client", "http://web/", "-H", f"end-user: {user}")["body"]
        assert [endpoint["pod"] for endpoint in told["endpoints"]] == [f"default/{answered['pod']}"]
    finally:
        web_lab.delete(file)


EMPTY = """
apiVersion: v1
kind: Service
metadata: { name: empty }
spec:
  selector: { app: nobody }
  ports: [{ name: http, port: 80 }, { name: tcp, port: 81 }]
"""


def test_a_service_without_endpoints_is_unavailable_and_so_it_is_on_the_wire(web_lab: Lab) -> None:
    web_lab.apply(EMPTY)
    try:
        http = explained(web_lab, "default/client", "empty:80", code=1)
        assert (http["tier"], http["verdict"]) == ("envoy", "unavailable")
        assert http["reason"].endswith("Envoy answers 503")
        assert web_lab.ask("client", "http://empty/")["status"] == 503
        tcp = explained(web_lab, "default/client", "empty:81", code=1)
        assert (tcp["tier"], tcp["verdict"]) == ("refuse", "unavailable")
        assert tcp["reason"].endswith("connect() is refused")
        assert "ConnectionRefusedError" in web_lab.ask("client", "http://empty:81/")["error"]
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_tcp_and_what_is_not_touched(probe_lab: Lab) -> None:
    server = probe_lab.address("default/server", "4")
    told = explained(probe_lab, "default/client", "talk:7000")
    assert (told["tier"], told["verdict"]) == ("fastpath", "allow")
    assert {endpoint["address"] for endpoint in told["endpoints"]} == {server}
    assert explained(probe_lab, "default/client", f"{server}:7001")["tier"] == "direct"
    assert explained(probe_lab, "default/client", "192.0.2.1:80")["tier"] == "none"
    assert explained(probe_lab, "default/client", "192.0.2.1:53")["counted_as"] == "redirect_dns"
    assert explained(probe_lab, "default/client", "127.77.0.1:80", code=1)["verdict"] == "deny"
