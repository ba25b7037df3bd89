"""Which endpoint a request gets, and when one is given up: what a DestinationRule says, seen on a real Envoy."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.configs import destination_rule, service, virtual_service
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.http_origin import OK, Conversation, Message, Origin, dial
from tests.support.http_pair import meshed

NAME = "web.default.svc.cluster.local:80"
SICK = b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"
NODES = """
apiVersion: v1
kind: Node
metadata:
  name: here
  labels: {topology.kubernetes.io/region: north, topology.kubernetes.io/zone: a}
---
apiVersion: v1
kind: Node
metadata:
  name: beside
  labels: {topology.kubernetes.io/region: north, topology.kubernetes.io/zone: b}
---
apiVersion: v1
kind: Node
metadata: {name: far, labels: {topology.kubernetes.io/region: south}}
---
apiVersion: v1
kind: Node
metadata: {name: farther, labels: {topology.kubernetes.io/region: west}}
"""
OUTLIERS = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 1h, interval: 10ms, maxEjectionPercent: 100}"
NO_RETRY = virtual_service("web", "web", "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}")


def _says(name: str, answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head + f"\r\nwho: {name}".encode() + b"\r\n\r\n" + body


def pod(node: str, port: int, labels: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: at-{node}-{port}, namespace: default, labels: {{app: web{labels}}}}}
spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: {port}, name: web}}]}}]}}
status: {{podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
"""


class Servers:
    """One on each node, and how they are asked."""

    def __init__(self, port: int, origins: dict[str, Origin]) -> None:
        self.origins = origins
        self._port = port

    def ask(self, *headers: str) -> Message:
        with dial(self._port) as talk:
            lines = "".join(f"{h}\r\n" for h in headers)
            return talk.say(f"GET / HTTP/1.1\r\nHost: web\r\n{lines}\r\n".encode()).message()

    def who(self, count: int = 20) -> Counter[str]:
        """Who answers so many requests; the status of those whom nobody answers."""
        answers = [self.ask() for _ in range(count)]
        return Counter(a.headers.get("who", str(a.status)) for a in answers)

    def becomes(self, nodes: set[str]) -> None:
        """Wait until these answer, and nobody else."""
        eventually(lambda: set(self.who()) == nodes, f"{nodes} serve")

    def fail(self, node: str) -> None:
        self.origins[node].answers["/"] = _says(node, SICK)


@contextmanager
def servers(
    directory: Path,
    policy: str,
    nodes: dict[str, str],
    *more: str,
    client: dict[str, str] | None = None,
    route: str = NO_RETRY,
) -> Iterator[Servers]:
    """nodes: by name, further labels of the pod there. route: a VirtualService of web."""
    with ExitStack() as stack:
        origins = {node: stack.enter_context(Origin({"/": _says(node, OK)})) for node in nodes}
        pods = [pod(node, origins[node].port, labels) for node, labels in nodes.items()]
        documents = [service("web", "http:80:web", ips="10.96.0.1"), NODES, destination_rule("d", "web", policy), *pods]
        ports = stack.enter_context(meshed(directory, *documents, route, *more, node="here", labels=client))
        yield Servers(ports[NAME], origins)


EVERYWHERE = dict.fromkeys(("here", "beside", "far", "farther"), "")


def near(words: str) -> str:
    return f"trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {{{words}}}}}, {OUTLIERS}}}"


def test_the_nearest_endpoints_serve_until_they_fail(tmp_path: Path) -> None:
    with servers(tmp_path, f"trafficPolicy: {{{OUTLIERS}}}", EVERYWHERE) as web:
        assert set(web.who()) == {"here"}
        web.fail("here")
        web.becomes({"beside"})
        web.fail("beside")
        web.becomes({"far", "farther"})


def test_a_region_turns_to_the_one_that_is_named_first(tmp_path: Path) -> None:
    with servers(tmp_path, near("failover: [{from: north, to: west}]"), EVERYWHERE) as web:
        for node in ("here", "beside"):
            web.fail(node)
        web.becomes({"farther"})
        web.fail("farther")
        web.becomes({"far"})


def mesh(words: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    {words}
"""


def test_the_mesh_says_which_places_serve_where_no_rule_does(tmp_path: Path) -> None:
    words = mesh("localityLbSetting: {distribute: [{from: north, to: {south: 100}}]}")
    with servers(tmp_path, "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", EVERYWHERE, words) as web:
        assert set(web.who()) == {"far"}


def test_a_region_turns_to_the_one_that_the_mesh_names_first(tmp_path: Path) -> None:
    words = mesh("localityLbSetting: {failover: [{from: north, to: west}]}")
    with servers(tmp_path, f"trafficPolicy: {{{OUTLIERS}}}", EVERYWHERE, words) as web:
        for node in ("here", "beside"):
            web.fail(node)
        web.becomes({"farther"})


@pytest.mark.parametrize("words", ["enabled: false", "distribute: [{from: south, to: {south: 100}}]"])
def test_without_an_order_everybody_serves(words: str, tmp_path: Path) -> None:
    with servers(tmp_path, near(words), EVERYWHERE) as web:
        assert set(web.who(40)) == set(EVERYWHERE)


def test_without_outlier_detection_nobody_is_preferred(tmp_path: Path) -> None:
    with servers(tmp_path, "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", EVERYWHERE) as web:
        assert set(web.who()) == set(EVERYWHERE)


def test_shares_are_as_they_are_written(tmp_path: Path) -> None:
    """ROUND_ROBIN over weights makes no chance of it: of 100 each gets its percents."""
    words = "distribute: [{from: north/a, to: {north/b: 20, south: 70, west/*: 10}}]"
    with servers(tmp_path, near(words), EVERYWHERE) as web:
        answers = web.who(100)
    assert set(answers) == {"beside", "far", "farther"}
    for node, percent in (("beside", 20), ("far", 70), ("farther", 10)):
        assert abs(answers[node] - percent) <= 10, answers


LABELLED = {"here": ", version: v1", "beside": ", version: v2", "far": ", version: v2"}


@pytest.mark.parametrize(
    ("priority", "client", "order"),
    [
        ("version", {"version": "v1"}, [{"here"}, {"beside", "far"}]),
        ("version", {"version": "v2"}, [{"beside", "far"}, {"here"}]),
        ("version=v2", {}, [{"beside", "far"}, {"here"}]),
        ("version=v2, topology.kubernetes.io/region", {}, [{"beside"}, {"far"}, {"here"}]),
        ("topology.kubernetes.io/region, version", {"version": "v2"}, [{"beside"}, {"here"}, {"far"}]),
        ("kubernetes.io/hostname", {}, [{"here"}, {"beside", "far"}]),
    ],
)
def test_labels_that_endpoints_share_with_the_client_put_them_in_order(
    priority: str, client: dict[str, str], order: list[set[str]], tmp_path: Path
) -> None:
    with servers(tmp_path, near(f"failoverPriority: [{priority}]"), LABELLED, client=client) as web:
        for expected in order:
            web.becomes(expected)
            for node in expected:
                web.fail(node)


def test_the_pods_own_word_about_its_place_counts(tmp_path: Path) -> None:
    nodes = {"here": ", istio-locality: south.b", "far": ", istio-locality: north.a"}
    with servers(tmp_path, f"trafficPolicy: {{{OUTLIERS}}}", nodes) as web:
        assert set(web.who()) == {"far"}


def test_the_rule_of_a_client_is_for_nobody_else(tmp_path: Path) -> None:
    """A wildcard for all of the namespace, and one for clients with a label."""
    own = destination_rule(
        "own",
        "web",
        "workloadSelector: {matchLabels: {team: a}}\n" + near("distribute: [{from: north, to: {south: 100}}]"),
    )
    everybody = near("distribute: [{from: north, to: {west: 100}}]")
    for number, (client, expected) in enumerate((({"team": "a", "x": "y"}, "far"), ({"team": "b"}, "farther"))):
        directory = tmp_path / str(number)
        directory.mkdir()
        with servers(directory, everybody, EVERYWHERE, own, client=client) as web:
            assert set(web.who()) == {expected}


@pytest.mark.parametrize(("codes", "later"), [("", 418), (", outlierDetectionHttpErrorCodes: [404, 418]", 503)])
def test_which_answers_make_an_endpoint_sick(codes: str, later: int, tmp_path: Path) -> None:
    policy = f"trafficPolicy: {{{OUTLIERS[:-1]}{codes}}}}}"
    with servers(tmp_path, policy, {"here": ""}) as web:
        web.origins["here"].answers["/"] = b"HTTP/1.1 418 no\r\nContent-Length: 0\r\n\r\n"
        assert web.ask().status == 418
        eventually(lambda: [web.ask().status for _ in range(5)] == [later] * 5, "Envoy gives up on it, or not")


def test_an_endpoint_that_nobody_reaches_is_counted_apart(tmp_path: Path) -> None:
    """5xx count for nothing here, and a connection that is refused is none."""
    words = "consecutive5xxErrors: 0, consecutiveGatewayErrors: 0, splitExternalLocalOriginErrors: true"
    outliers = OUTLIERS.replace("consecutive5xxErrors: 1", f"{words}, consecutiveLocalOriginFailures: 2")
    balancer = "loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {enabled: false}}"
    policy = f"trafficPolicy: {{{balancer}, {outliers}}}"
    with servers(tmp_path, policy, {"here": "", "far": ""}) as web:
        web.origins["here"].__exit__()
        assert eventually(lambda: web.who(10) == Counter(far=10), "the other one is given up")


@pytest.mark.parametrize(("compat", "left"), [("current", {"here", "far"}), ("v1alpha3-1.0", {"far"})])
def test_a_share_that_is_less_than_one_leaves_out_nobody(compat: str, left: set[str], tmp_path: Path) -> None:
    """Nobody wrote maxEjectionPercent: ten of a hundred. In a mesh of the old API it is one, however few there are.
    tests/relay/test_routes.py and tests/unit/compile/test_compat.py say the same of TCP."""
    old = mesh("connectTimeout: 10s") + f"  tidegate: |\n    compat: {compat}\n"
    words = OUTLIERS.replace(", maxEjectionPercent: 100", "")
    policy = f"trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {{enabled: false}}}}, {words}}}"
    with servers(tmp_path, policy, {"here": "", "far": ""}, old) as web:
        web.fail("here")
        web.becomes(left)
        assert set(web.who()) == left


@pytest.mark.api("ConnectionPoolSettings.HTTPSettings.maxRetries")
def test_so_many_requests_may_be_on_a_further_try(tmp_path: Path) -> None:
    """One is: while it waits for its answer, another one that failed is not tried again."""
    retried, go_on = threading.Event(), threading.Event()

    def answer(talk: Conversation) -> None:
        tries = len(web.origins["here"].seen)
        if tries != 2:
            talk.say(SICK)
            return
        retried.set()
        assert go_on.wait(HANG_SECONDS)
        talk.say(OK)

    route = virtual_service(
        "web", "web", "- route: [{destination: {host: web}}]\n  retries: {attempts: 1, retryOn: 5xx}"
    )
    policy = "trafficPolicy: {connectionPool: {http: {maxRetries: 1}}}"
    with servers(tmp_path, policy, {"here": ""}, route=route) as web:
        web.origins["here"].answers["/"] = answer
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(web.ask)
            assert retried.wait(HANG_SECONDS)
            assert web.ask().status == 500
            go_on.set()
            assert first.result().status == 200
        assert len(web.origins["here"].seen) == 3


def test_a_connection_is_not_kept_longer_than_it_may(tmp_path: Path) -> None:
    pool = "connectionPool: {tcp: {maxConnectionDuration: 1ms}}"
    with servers(tmp_path, f"trafficPolicy: {{{pool}}}", {"here": ""}) as web:
        eventually(lambda: web.ask().status == 200 and web.origins["here"].connections > 2, "connections are replaced")


def test_a_port_that_is_declared_http2_can_speak_what_its_client_speaks(tmp_path: Path) -> None:
    declared = service("web", "http2:80:web", ips="10.96.0.1")
    rule = destination_rule("d", "web", "trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}")
    with Origin() as origin:
        documents = (declared, pod("here", origin.port, ""), NO_RETRY)
        with meshed(tmp_path, *documents, rule) as ports:
            assert Servers(ports[NAME], {}).ask().status == 200


def test_a_cookie_that_is_made_has_its_attributes(tmp_path: Path) -> None:
    attributes = "[{name: SameSite, value: Strict}, {name: Secure}]"
    cookie = f"httpCookie: {{name: user, ttl: 60s, path: /, attributes: {attributes}}}"
    policy = f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{cookie}}}}}}}"
    with servers(tmp_path, policy, {"here": "", "far": ""}) as web:
        made = web.ask().headers["set-cookie"]
        assert made.startswith("user=")
        assert {"SameSite=Strict", "Secure", "Max-Age=60", "Path=/"} <= {word.strip() for word in made.split(";")}
        named = {web.ask(f"Cookie: {made.partition(';')[0]}").headers["who"] for _ in range(10)}
    assert len(named) == 1


def test_a_hash_of_nothing_goes_to_anybody(tmp_path: Path) -> None:
    policy = "trafficPolicy: {loadBalancer: {consistentHash: {ringHash: {minimumRingSize: 99}}}}"
    with servers(tmp_path, policy, {"here": "", "far": ""}) as web:
        eventually(lambda: set(web.who()) == {"here", "far"}, "both are asked")
