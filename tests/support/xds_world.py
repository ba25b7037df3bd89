"""A mesh that is served over xDS to clients that are not ours: the server in this process, gRPC peers around it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tests.support.configs import ENROLLED, config_of
from tests.support.eventually import eventually
from tidegate.compile.facts import join
from tidegate.model.mesh import Mesh
from tidegate.xds.discovery import DiscoveryServer
from tidegate.xds.services import NamespaceSocket

CALLER = Path(__file__).with_name("xds_caller.py")
SERVER_TEMPLATE = "xds.istio.io/grpc/lds/inbound/%s"


class Backend:
    """A gRPC server on this machine's loopback that answers with its version."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.calls: list[dict[str, str]] = []  # metadata of each
        self.tries: Counter[str] = Counter()
        self.left: list[float] = []  # of calls of Hang that were cut off: how long their callers had waited still
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(handler)
            for name, handler in {"Ask": self._ask, "Hang": self._hang, "Fail": self._fail}.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("story.Story", methods),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _ask(self, _: bytes, context: Any) -> bytes:
        self.calls.append({str(k): str(v) for k, v in context.invocation_metadata()})
        return json.dumps({"version": self.version, "tries": 0}).encode()

    async def _hang(self, _: bytes, context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            self.left.append(context.time_remaining() or 0.0)
        return b""

    async def _fail(self, _: bytes, context: Any) -> bytes:
        """UNAVAILABLE to the first `fail` calls of a `key`."""
        told = {str(k): str(v) for k, v in context.invocation_metadata()}
        self.tries[told["key"]] += 1
        if self.tries[told["key"]] <= int(told["fail"]):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return json.dumps({"version": self.version, "tries": self.tries[told["key"]]}).encode()


class Caller:
    """xds_caller.py with a bootstrap that leads to a port."""

    def __init__(self, port: int, node_id: str = "sidecar~10.0.0.9~caller.default~default.svc.cluster.local") -> None:
        bootstrap = {
            "xds_servers": [
                {
                    "server_uri": f"127.0.0.1:{port}",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": node_id, "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default"}},
            "server_listener_resource_name_template": SERVER_TEMPLATE,
        }
        self._turn = asyncio.Lock()  # answers come in the order of orders
        self._process = subprocess.Popen(
            [sys.executable, str(CALLER)],
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = await asyncio.to_thread(self._process.stdout.readline)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, target: str = "xds:///story:50051", **order: Any) -> dict[str, Any]:
        return await self.order(ask=target, **order)

    async def until(self, check: Callable[[dict[str, Any]], Any], what: str, **order: Any) -> dict[str, Any]:
        """Ask until the answer is as it should be: a change is in force a moment after it was published."""
        loop = asyncio.get_running_loop()

        def once() -> Any:
            answer = asyncio.run_coroutine_threadsafe(self.ask(**order), loop).result()
            assert check(answer), answer
            return answer

        found: dict[str, Any] = await asyncio.to_thread(eventually, once, what)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def story(*backends: Backend) -> str:
    """Service story with a pod for each backend, all on the loopback."""
    pods = "".join(
        f"""---
apiVersion: v1
kind: Pod
metadata: {{name: story-{b.version}, labels: {{app: story, version: {b.version}}}}}
spec: {{containers: [{{name: c, ports: [{{name: grpc, containerPort: {b.port}}}]}}]}}
status: {{podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
"""
        for b in backends
    )
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: story}}
spec:
  clusterIP: 10.96.0.10
  selector: {{app: story}}
  ports: [{{name: grpc, port: 50051, targetPort: grpc}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: story}}
spec:
  host: story
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
{pods}"""


class World:
    """The server and what it serves."""

    def __init__(self, sockets: Sequence[NamespaceSocket] = ()) -> None:
        self.server = DiscoveryServer("127.0.0.1", 0, "test", sockets=sockets)

    async def publish(self, *texts: str) -> None:
        await self.publish_mesh(config_of(ENROLLED, *texts))

    async def publish_mesh(self, mesh: Mesh) -> None:
        await self.server.publish(join(mesh, ()))


@asynccontextmanager
async def serving(sockets: Sequence[NamespaceSocket] = ()) -> AsyncIterator[World]:
    world = World(sockets)
    await world.server.start()
    try:
        yield world
    finally:
        await world.server.stop()
