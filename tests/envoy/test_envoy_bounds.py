"""What one pod may take of the Envoy that all share: bytes that nobody reads, connections, and the heap as a whole."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, pod, sandbox, service
from tests.support.envoy_node import Upstream
from tests.support.envoy_static import ENVOY, static_bootstrap
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.h2_upload import Uploader

from tidegate.compile.compiler import compile_plan
from tidegate.compile.envoy import bounds
from tidegate.compile.facts import join
from tidegate.envoy.bootstrap import MIB, bootstrap
from tidegate.model.plan.envoy import LISTENERS, ROUTES

CONNECTIONS, STREAMS = 16, 16
GREEDY, OTHER = "default/greedy", "default/other"


class Mesh:
    """An Envoy with what the product tells it of two pods and two services, of which one accepts and never reads."""

    def __init__(self, directory: Path, answering: int, silent: int, max_heap: int) -> None:
        self.admin = directory / "admin"
        config = config_of(
            ENROLLED,
            service("silent", f"http2:{silent}", ips="10.96.0.1", selector="app: silent"),
            service("web", f"http:{answering}", ips="10.96.0.2", selector="app: web"),
            *(pod(name, f"app: {name}", "127.0.0.1") for name in ("silent", "web")),
            pod("greedy", "app: greedy", "10.244.0.8"),
            pod("other", "app: other", "10.244.0.9"),
        )
        # Each pod in a network namespace of another name, that of this machine.
        greedy = replace(sandbox("greedy", cookie=77), netns_path="/proc/self/ns/net")
        other = replace(sandbox("other", cookie=78), netns_path="/proc/thread-self/ns/net")
        plan = compile_plan(join(config, [greedy, other]))
        self.ports: dict[tuple[str, str], int] = {}
        static = static_bootstrap(plan.envoy)["static_resources"]
        listeners = []
        for name, resource in plan.envoy[LISTENERS].items():
            for routes in plan.envoy[ROUTES].values():
                listeners.append(_local(dict(resource.body), f"{name}>{routes.name}", dict(routes.body)))
        told = bootstrap(
            node_id="bounds",
            xds_socket=directory / "xds",
            admin_socket=self.admin,
            max_connections=10_000,
            max_heap=max_heap,
        )
        del told["dynamic_resources"]
        told["static_resources"] = {"listeners": listeners, "clusters": static["clusters"]}
        file, self.log = directory / "bootstrap.json", directory / "log"
        file.write_text(json.dumps(told))
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [ENVOY, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"],
                stdout=output,
                stderr=output,
            )
        try:
            eventually(self._listening, "Envoy listens")
        except BaseException:
            self.stop()
            raise

    def _listening(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            found = json.loads(self.page("/listeners?format=json")).get("listener_statuses", [])
        except OSError:
            return False
        for status in found:
            _, pod_id, rest = status["name"].split("|")
            fqdn = rest.partition(">")[2].partition(".")[0]
            self.ports[pod_id, fqdn] = status["local_address"]["socket_address"]["port_value"]
        return len(self.ports) == 4

    def page(self, path: str) -> str:
        """A page of the admin interface."""
        connection = http.client.HTTPConnection("admin", timeout=HANG_SECONDS)
        with closing(connection), closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(str(self.admin))
            connection.sock = sock
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def heap(self) -> int:
        """Bytes that Envoy has allocated now."""
        return int(json.loads(self.page("/memory"))["allocated"])

    def pressure(self) -> int:
        """Per cent of the heap's limit, as Envoy saw it last."""
        return self.count("overload.envoy.resource_monitors.fixed_heap.pressure")

    def count(self, name: str) -> int:
        stats = json.loads(self.page(f"/stats?format=json&filter=^{name}$"))["stats"]
        return sum(int(stat["value"]) for stat in stats if "value" in stat)

    def status(self, pod_id: str, fqdn: str) -> int:
        """The status of one request of a pod."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports[pod_id, fqdn], timeout=HANG_SECONDS)) as asked:
            asked.request("GET", "/")
            return asked.getresponse().status

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _local(body: dict[str, Any], name: str, routes: dict[str, Any]) -> dict[str, Any]:
    """A pod's listener on this machine's loopback, with the routes of one service inside, whatever is dialled."""
    (chain,) = body["filter_chains"]
    manager = dict(chain["filters"][-1])
    manager["typed_config"] = {k: v for k, v in manager["typed_config"].items() if k != "scoped_routes"}
    manager["typed_config"]["route_config"] = routes
    manager["typed_config"]["http_filters"] = [
        f for f in manager["typed_config"]["http_filters"] if f["name"] != "envoy.filters.http.on_demand"
    ]
    return {
        **{key: body[key] for key in ("traffic_direction", "enable_reuse_port", "per_connection_buffer_limit_bytes")},
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{**chain, "filters": [*chain["filters"][:-1], manager]}],
    }


@pytest.fixture
def silent() -> Iterator[int]:
    """Port of a server whose connections the kernel accepts, and that nobody reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield server.getsockname()[1]


@pytest.fixture
def answering() -> Iterator[int]:
    upstream = Upstream("v1")
    yield upstream.port
    upstream.stop()


@pytest.fixture
def mesh(tmp_path: Path, answering: int, silent: int, request: pytest.FixtureRequest) -> Iterator[Mesh]:
    made = Mesh(tmp_path, answering, silent, getattr(request, "param", 1024 * MIB))
    yield made
    made.stop()


def uploads(mesh: Mesh, connections: int, streams: int, cleanup: ExitStack) -> list[Uploader]:
    """Requests of the greedy pod to the server that does not read, as many bytes as Envoy lets it send."""
    made = []
    for _ in range(connections):
        uploader = Uploader(mesh.ports[GREEDY, "silent"], "silent")
        cleanup.callback(uploader.close)
        uploader.open(streams)
        made.append(uploader)
    for uploader in made:
        uploader.fill()
    return made


@pytest.mark.case("C5")
def test_http2_to_a_server_that_never_reads_takes_a_bounded_heap_and_others_are_served(mesh: Mesh) -> None:
    assert mesh.status(OTHER, "web") == 200
    before = mesh.heap()
    with ExitStack() as cleanup:
        made = uploads(mesh, CONNECTIONS, STREAMS, cleanup)
        for uploader in made:
            # What Envoy took into its buffers before it stopped, and what the window let through after that.
            assert uploader.sent <= bounds.CONNECTION_BUFFER + bounds.CONNECTION_WINDOW
            assert uploader.sent >= bounds.STREAM_WINDOW, "nothing was kept back: this is not what the test is about"
        # The bytes, once more where a body is kept to be sent again; a stream is some KiB of objects.
        most = 2 * (bounds.CONNECTION_BUFFER + bounds.CONNECTION_WINDOW) + STREAMS * 32 * 1024
        assert mesh.heap() - before <= CONNECTIONS * most
        assert mesh.status(OTHER, "web") == 200


@pytest.mark.case("C5")
def test_a_pod_has_so_many_connections_and_another_has_its_own(
    tmp_path: Path, answering: int, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CONNECTIONS", 3)
    mesh = Mesh(tmp_path, answering, silent, 1024 * MIB)
    with ExitStack() as cleanup:
        cleanup.callback(mesh.stop)
        for _ in range(3):
            kept = http.client.HTTPConnection("127.0.0.1", mesh.ports[GREEDY, "web"], timeout=HANG_SECONDS)
            cleanup.callback(kept.close)
            kept.request("GET", "/")
            assert kept.getresponse().read()
        fourth = cleanup.enter_context(socket.create_connection(("127.0.0.1", mesh.ports[GREEDY, "web"]), HANG_SECONDS))
        assert fourth.recv(1) == b"", "one too many is closed at once"
        assert mesh.count("connection_limit.pod.limited_connections") == 1
        assert mesh.status(OTHER, "web") == 200


@pytest.mark.case("C5")
def test_when_the_heap_is_nearly_full_the_streams_that_hold_it_are_reset(
    tmp_path: Path, answering: int, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With windows as wide as they were, so that one pod can fill it at all."""
    monkeypatch.setattr(bounds, "STREAM_WINDOW", 16 * MIB)
    monkeypatch.setattr(bounds, "CONNECTION_WINDOW", 24 * MIB)
    limit = 128 * MIB
    mesh = Mesh(tmp_path, answering, silent, limit)
    with ExitStack() as cleanup:
        cleanup.callback(mesh.stop)
        made = []
        for _ in range(8):
            made += uploads(mesh, 1, 2, cleanup)
            # Envoy looks from time to time: it has to see this one, and what it then resets go, before the next comes.
            eventually(lambda: looked(mesh, limit), "Envoy has looked at its heap, and that has room")
        for uploader in made:
            uploader.settle()
        assert any(uploader.resets for uploader in made), "nothing was reset: this is not what the test is about"
        eventually(lambda: mesh.status(OTHER, "web") == 200, "others are served once Envoy saw that there is room")


def looked(mesh: Mesh, limit: int) -> bool:
    """Whether what Envoy saw last is how it is, and less than the limit."""
    heap = mesh.heap()
    return heap < limit and abs(mesh.pressure() - 100 * heap / limit) <= 10
