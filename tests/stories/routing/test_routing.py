"""Istio's HTTP routing seen from an ordinary client: one rule each, observed on the wire."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from tests.support.chance import binomial
from tests.support.lab import Lab

Route = Callable[..., None]

HEAD = """
apiVersion: networking.istio.io/{version}
kind: VirtualService
metadata: {{ name: web }}
spec:
  hosts: [web]
  http:
"""


@pytest.fixture
def route(web_lab: Lab) -> Iterator[Route]:
    """Apply a VirtualService for host web whose spec.http is the YAML given; removed afterwards."""

    def apply(http: str, version: str = "v1") -> None:
        web_lab.apply(HEAD.format(version=version) + http)

    yield apply
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def to(subset: str) -> str:
    return f"route: [{{ destination: {{ host: web, subset: {subset} }} }}]"


def test_http_reaches_the_service_and_names_the_client(web_lab: Lab) -> None:
    before = web_lab.metric("tidegate_verdicts_total", reason="redirect_envoy")
    for family in ("4", "mapped", "6", "v6only"):
        got = web_lab.ask("client", "http://web/", "--family", family)
        assert got["status"] == 200
        assert got["body"]["headers"].get("x-forwarded-for") == web_lab.address("default/client", family)
    assert web_lab.metric("tidegate_verdicts_total", reason="redirect_envoy") == before + 4


def test_headers_of_a_pod_that_is_a_proxy_itself_go_on(web_lab: Lab) -> None:
    sent = ("-H", "x-forwarded-proto: https", "-H", "x-forwarded-for: 192.0.2.7", "-H", "x-request-id: abc")
    headers = web_lab.ask("client", "http://web/", *sent)["body"]["headers"]
    assert (headers["x-forwarded-proto"], headers["x-request-id"]) == ("https", "abc")
    assert headers["x-forwarded-for"] == f"192.0.2.7,{web_lab.address('default/client', '4')}"


def test_without_a_rule_every_version_answers(web_lab: Lab) -> None:
    assert set(web_lab.ask("client", "http://web/", "--count", "60", "--fresh")["versions"]) == {"v1", "v2"}


# Three points are three standard deviations at 2 000 requests, which luck exceeds once in 500 runs.
@pytest.mark.parametrize(("api_version", "count"), [("v1alpha3", 2000), ("v1beta1", 2000), ("v1", 8000)])
def test_75_25_split(web_lab: Lab, route: Route, api_version: str, count: int) -> None:
    route(
        """
    - route:
        - { destination: { host: web, subset: v1 }, weight: 75 }
        - { destination: { host: web, subset: v2 }, weight: 25 }
""",
        api_version,
    )
    got = web_lab.ask("client", "http://web/", "--count", str(count))
    assert got["failed"] == 0
    assert got["versions"]["v1"] in binomial(count, 0.75)


def test_end_user_jason_gets_v2_and_nobody_else_does(web_lab: Lab, route: Route) -> None:
    route(f"""
    - match: [{{ headers: {{ end-user: {{ exact: jason }} }} }}]
      {to("v2")}
    - {to("v1")}
""")
    assert web_lab.ask("client", "http://web/", "--count", "100", "-H", "end-user: jason")["versions"] == {"v2": 100}
    for other in ("jaso", "jasonx", "xjason"):
        got = web_lab.ask("client", "http://web/", "--count", "100", "-H", f"end-user: {other}")
        assert got["versions"] == {"v1": 100}, other
    assert web_lab.ask("client", "http://web/", "--count", "100")["versions"] == {"v1": 100}


@pytest.mark.api("HTTPMatchRequest.method", "HTTPMatchRequest.authority", "StringMatch.regex")
@pytest.mark.parametrize(
    ("match", "hit", "miss"),
    [
        ("uri: { prefix: /api }", ["http://web/api/x"], ["http://web/other"]),
        ("uri: { exact: /one }", ["http://web/one"], ["http://web/one/more"]),
        ("uri: { regex: '/v[0-9]+/items' }", ["http://web/v12/items"], ["http://web/v12/items/3"]),
        ("method: { exact: POST }", ["http://web/", "-X", "POST"], ["http://web/"]),
        ("queryParams: { debug: { exact: 'on' } }", ["http://web/?debug=on"], ["http://web/?debug=off"]),
        ("authority: { exact: web.default }", ["http://web.default/"], ["http://web/"]),
        ("headers: { x-a: { regex: '[0-9]+' } }", ["http://web/", "-H", "x-a: 42"], ["http://web/", "-H", "x-a: 4b"]),
        ("withoutHeaders: { x-a: {} }", ["http://web/"], ["http://web/", "-H", "x-a: 1"]),
    ],
)
def test_each_kind_of_match(web_lab: Lab, route: Route, match: str, hit: list[str], miss: list[str]) -> None:
    route(f"""
    - match: [{{ {match} }}]
      {to("v2")}
    - {to("v1")}
""")
    assert web_lab.ask("client", *hit)["body"]["version"] == "v2"
    assert web_lab.ask("client", *miss)["body"]["version"] == "v1"


def test_redirect(web_lab: Lab, route: Route) -> None:
    route("""
    - match: [{ uri: { exact: /old } }]
      redirect: { uri: /new, authority: elsewhere.example, redirectCode: 302 }
""")
    got = web_lab.ask("client", "http://web/old")
    assert (got["status"], got["headers"].get("location")) == (302, "http://elsewhere.example/new")


def test_rewrite(web_lab: Lab, route: Route) -> None:
    route(f"""
    - match: [{{ uri: {{ prefix: /ratings }} }}]
      rewrite: {{ uri: /v1/bookRatings, authority: inner.example }}
      {to("v1")}
""")
    body = web_lab.ask("client", "http://web/ratings/7")["body"]
    assert (body["path"], body["headers"]["host"]) == ("/v1/bookRatings/7", "inner.example")


def test_timeout(web_lab: Lab, route: Route) -> None:
    route(f"""
    - timeout: 0.5s
      {to("v1")}
""")
    got = web_lab.ask("client", "http://web/?sleep=90")
    assert got["status"] == 504
    assert got["seconds"] > 0.4


@pytest.mark.parametrize(("attempts", "status", "tries"), [(3, 200, 3), (1, 503, 2), (0, 503, 1)])
def test_retries(web_lab: Lab, route: Route, attempts: int, status: int, tries: int) -> None:
    route(f"""
    - retries: {{ attempts: {attempts}{", retryOn: 5xx, perTryTimeout: 60s" if attempts else ""} }}
      {to("v1")}
""")
    got = web_lab.ask("client", f"http://web/?fail=2&key=story-{attempts}")
    assert (got["status"], got["body"]["tries"]) == (status, tries)


def test_fault_delay(web_lab: Lab, route: Route) -> None:
    route(f"""
    - match: [{{ headers: {{ slow: {{ exact: 'yes' }} }} }}]
      fault: {{ delay: {{ percentage: {{ value: 100 }}, fixedDelay: 1s }} }}
      {to("v1")}
    - match: [{{ headers: {{ slow: {{ exact: very }} }} }}]
      fault: {{ delay: {{ percentage: {{ value: 100 }}, fixedDelay: 1000s }} }}
      {to("v1")}
    - {to("v1")}
""")
    assert web_lab.ask("client", "http://web/", "-H", "slow: yes")["seconds"] > 0.5
    assert web_lab.ask("client", "http://web/")["status"] == 200, "nobody else is held"


def test_fault_abort(web_lab: Lab, route: Route) -> None:
    route(f"""
    - fault: {{ abort: {{ percentage: {{ value: 50 }}, httpStatus: 418 }} }}
      {to("v1")}
""")
    statuses = web_lab.ask("client", "http://web/", "--count", "600")["statuses"]
    assert set(statuses) == {"200", "418"}
    assert statuses["418"] in binomial(600, 0.5)


def test_header_operations(web_lab: Lab, route: Route) -> None:
    route(f"""
    - headers:
        request: {{ set: {{ x-set: new }}, add: {{ x-add: more }}, remove: [x-gone] }}
        response: {{ set: {{ x-answer: "42" }}, remove: [content-type] }}
      {to("v1")}
""")
    got = web_lab.ask("client", "http://web/", "-H", "x-set: old", "-H", "x-gone: here")
    assert got["body"]["headers"]["x-set"] == "new"
    assert got["body"]["headers"].get("x-add") == "more"
    assert "x-gone" not in got["body"]["headers"]
    assert got["headers"].get("x-answer") == "42"
    assert "content-type" not in got["headers"]


def test_headless_http_name_is_routed_too(web_lab: Lab) -> None:
    web_lab.apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web-headless }
spec:
  hosts: [web-headless]
  http:
    - headers: { response: { set: { x-routed: "yes" } } }
      route: [{ destination: { host: web-headless } }]
""")
    try:
        got = web_lab.ask("client", "http://web-headless:8080/")
        assert (got["status"], got["headers"].get("x-routed")) == (200, "yes")
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_the_pod_that_a_client_chose_behind_a_headless_name_answers(web_lab: Lab) -> None:
    """What a headless name stands for are pods, and who resolves it has chosen one of them."""
    pods = {name: pod["ip"] for name, pod in web_lab.pods().items() if "/web-v" in name}
    assert len(pods) == 2
    for name, address in pods.items():
        got = web_lab.ask("client", f"http://{address}:8080/", "--count", "20", "--fresh")
        assert got["versions"] == {name.partition("/web-")[2][:2]: 20}, got


def test_a_route_from_one_service_to_a_headless_one_reaches_its_pods(web_lab: Lab, route: Route) -> None:
    """What was dialled is the first service's address then, and no pod: Envoy chooses one."""
    route("    - route: [{ destination: { host: web-headless, port: { number: 8080 } } }]")
    got = web_lab.ask("client", "http://web/", "--count", "60", "--fresh")
    assert (got["statuses"], set(got["versions"])) == ({"200": 60}, {"v1", "v2"})
    told = json.loads(web_lab.tidegate("explain", "default/client", "web", "-o", "json").stdout)
    assert {endpoint["port"] for endpoint in told["endpoints"]} == {8080}
    assert len(told["endpoints"]) == 2


def test_the_address_decides_and_no_header_that_a_pod_can_send(web_lab: Lab) -> None:
    """The headers by which Envoy finds routes are its own: a pod cannot set them, and no endpoint sees them."""
    elsewhere = next(pod["ip"] for name, pod in web_lab.pods().items() if "/web-v1" in name)
    forged = {"x-tidegate-dialled": f"{elsewhere}:8080", "x-tidegate-virtual-host": "other/pod]elsewhere.example"}
    options = [part for name, value in forged.items() for part in ("-H", f"{name}: {value}")]
    got = web_lab.ask("client", "http://web/", "--count", "60", "--fresh", *options)
    assert (got["statuses"], set(got["versions"])) == ({"200": 60}, {"v1", "v2"})
    for family in ("4", "6"):
        seen = web_lab.ask("client", "http://web/", "--family", family, *options)["body"]["headers"]
        assert not [name for name in seen if name.startswith("x-tidegate")]
        assert seen["host"] == "web"


def test_a_rule_may_be_for_some_pods_only(web_lab: Lab, route: Route) -> None:
    route(f"""
    - match: [{{ sourceLabels: {{ app: nobody }} }}]
      {to("v1")}
    - match: [{{ sourceLabels: {{ app: client }} }}]
      {to("v2")}
    - {to("v1")}
""")
    assert web_lab.ask("client", "http://web/", "--count", "20", "--fresh")["versions"] == {"v2": 20}


def test_hosts_that_are_no_service_are_routed_at_the_address_that_was_dialled(web_lab: Lab) -> None:
    web_lab.apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: foreign }
spec:
  hosts: [shop.example, "*.wild.example"]
  http:
    - match: [{ uri: { prefix: /moved } }]
      redirect: { authority: new.example }
    - route: [{ destination: { host: web, subset: v2 } }]
""")
    try:
        for host in ("shop.example", "Shop.example:8080", "a.wild.example", "a.wild.example:1"):
            got = web_lab.ask("client", "http://web/", "--count", "10", "--fresh", "-H", f"Host: {host}")
            assert got["versions"] == {"v2": 10}, host
            moved = web_lab.exec(
                "client",
                "curl",
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{redirect_url}",
                "-H",
                f"Host: {host}",
                "http://web/moved",
            )
            assert moved.stdout == "http://new.example/moved"
        for host in ("other.example", "wild.example"):
            got = web_lab.ask("client", "http://web/", "--count", "40", "--fresh", "-H", f"Host: {host}")
            assert set(got["versions"]) == {"v1", "v2"}, host
    finally:
        web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def test_a_client_that_names_no_host_means_the_service(web_lab: Lab, route: Route) -> None:
    asked = ("curl", "-s", "-0", "-H", "Host:", "http://web/")
    fqdn = "web.default.svc.cluster.local"
    assert json.loads(web_lab.exec("client", *asked).stdout)["headers"]["host"] == fqdn
    route(f"""
    - match: [{{ authority: {{ exact: {fqdn} }} }}]
      {to("v2")}
    - {to("v1")}
""")
    answers = [json.loads(web_lab.exec("client", *asked).stdout) for _ in range(5)]
    assert {(a["version"], a["headers"]["host"]) for a in answers} == {("v2", fqdn)}
