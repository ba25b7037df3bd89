"""ADS server for one node's Envoy on a unix socket: gRPC around the pure sessions.

Every stream has a session; publish() hands each of them the new image and wakes it. The streams share the memory of
what was last accepted, so that an Envoy that starts anew gets the last good content of a resource that was refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from tidegate.errors import Fatal
from tidegate.model.snapshot import EnvoyResource
from tidegate.model.status import Failure
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import Encoded, Encoder, Image, Rejection
from tidegate.xds.session import Session
from tidegate.xds.sotw import SotwStream
from tidegate.xds.status import TypeStatus, XdsStatus

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
UNIX_PATH_MAX = 107  # sun_path without its final NUL


class Dialect(Protocol):
    """DeltaStream or SotwStream."""

    session: Session

    def receive(self, message: Any) -> Rejection | None: ...

    def responses(self) -> list[Any]: ...


class _Client:
    """One open stream."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.node = ""
        self.kick = asyncio.Event()


class AdsServer:
    """Serves what publish() was given. Use from one event loop."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._encoder = Encoder()
        self._publishing = asyncio.Lock()
        self._image: Image | None = None
        self._good: dict[tuple[str, str], Encoded] = {}
        self._clients: list[_Client] = []
        self._node = ""
        self._progress = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises Fatal if the path is too long for a unix socket or cannot be bound."""
        if len(str(self._socket).encode()) > UNIX_PATH_MAX:
            raise Fatal(f"socket {self._socket}", f"is longer than {UNIX_PATH_MAX} bytes", "choose a shorter --run-dir")
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        handlers = {
            "DeltaAggregatedResources": self._method(self._delta, discovery_pb2.DeltaDiscoveryRequest),
            "StreamAggregatedResources": self._method(self._sotw, discovery_pb2.DiscoveryRequest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            server.add_insecure_port(f"unix:{self._socket}")
        except RuntimeError as error:
            raise Fatal(f"socket {self._socket}", f"cannot listen: {error}") from None
        await server.start()
        self._socket.chmod(0o600)
        self._server = server

    async def stop(self) -> None:
        """Close every stream. Envoy keeps what it has and comes back to the next server on this path."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None:
        """Make this what every client should have. Returns before they have it: see wait_applied."""
        async with self._publishing:
            image = await asyncio.to_thread(self._encoder.encode, generation, resources)
            for rejection in image.broken:
                log.warning("resource %s %s %s", rejection.kind, rejection.name, rejection.detail)
            self._image = image
            for kind, name in [key for key in self._good if key[1] not in image.of(key[0])]:
                del self._good[kind, name]
            for client in self._clients:
                client.dialect.session.publish(image)
                client.kick.set()

    async def wait_applied(self, generation: int, timeout: float) -> bool:
        """Wait until a client answered every part of the generation or a later one; False after timeout seconds."""
        try:
            async with asyncio.timeout(timeout), self._progress:
                await self._progress.wait_for(lambda: self._applied() >= generation)
        except TimeoutError:
            return False
        return True

    def status(self) -> XdsStatus:
        """What is published, confirmed and refused now."""
        newest = self._clients[-1] if self._clients else None
        image = self._image
        types = (
            {}
            if newest is None
            else {
                kind: TypeStatus(
                    published=len(watch.target),
                    held=len(watch.held),
                    sent=watch.last_nonce,
                    acked=watch.unanswered is None,
                )
                for kind, watch in newest.dialect.session.watches.items()
            }
        )
        return XdsStatus(
            connected=newest is not None,
            node=self._node,
            published=image.generation if image else 0,
            applied=self._applied(),
            types=types,
            nacks=self._nacks(),
        )

    def rejected(self) -> Sequence[Failure]:
        """Resources that are not in force as published, for the status of the agent."""
        return [Failure(n.name, f"{n.by}: {n.detail}", tuple(str(o) for o in n.origins)) for n in self._nacks()]

    async def retry(self) -> None:
        """Try refused resources again."""
        for client in self._clients:
            client.dialect.session.retry()
            client.kick.set()

    def _applied(self) -> int:
        return self._clients[-1].dialect.session.applied if self._clients else 0

    def _nacks(self) -> tuple[Rejection, ...]:
        broken = self._image.broken if self._image else ()
        if not self._clients:
            return broken
        watches = self._clients[-1].dialect.session.watches.values()
        return broken + tuple(rejection for watch in watches for rejection in watch.withheld())

    # --- streams ------------------------------------------------------------------------------------------------
    @staticmethod
    def _method(serve: Callable[[Any, Any], Awaitable[None]], request: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _delta(self, _requests: Any, context: Any) -> None:
        await self._serve(DeltaStream(Session(self._good)), context)

    async def _sotw(self, _requests: Any, context: Any) -> None:
        await self._serve(SotwStream(Session(self._good)), context)

    async def _serve(self, dialect: Dialect, context: Any) -> None:
        client = _Client(dialect)
        if self._image is not None:
            dialect.session.publish(self._image)
        self._clients.append(client)
        reader = asyncio.create_task(self._read(client, context))
        try:
            while not reader.done():
                kicked = asyncio.create_task(client.kick.wait())
                await asyncio.wait({reader, kicked}, return_when=asyncio.FIRST_COMPLETED)
                kicked.cancel()
                client.kick.clear()
                for response in dialect.responses():
                    await context.write(response)
                async with self._progress:
                    self._progress.notify_all()
            await reader
        finally:
            reader.cancel()
            self._clients.remove(client)

    async def _read(self, client: _Client, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.node.id:
                client.node = self._node = message.node.id
            if not client.node:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first request must carry node.id")
            if message.HasField("error_detail"):
                log.warning("%s refused %s: %s", client.node, message.type_url, message.error_detail.message)
            client.dialect.receive(message)
            client.kick.set()
