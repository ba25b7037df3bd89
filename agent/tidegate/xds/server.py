"""ADS server for one node's Envoy on a unix socket: gRPC around the pure streams.

publish() hands every stream the new image and wakes it. The streams share the memory of what was last accepted, so that
an Envoy that starts anew gets the last good content of a resource that was refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from tidegate.errors import Fatal
from tidegate.model.plan.envoy import LISTENERS, EnvoyResource
from tidegate.model.status import Outcome, State
from tidegate.model.verdict import Verdict
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.latest import Latest
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import KINDS, Encoded, Encoder, Image, Rejection
from tidegate.xds.session import Session
from tidegate.xds.sotw import SotwStream
from tidegate.xds.status import TypeStatus, XdsStatus
from tidegate.xds.stream import PATIENCE_SECONDS, Stream

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
UNIX_PATH_MAX = 107  # sun_path without its final NUL


class AdsServer:
    """Serves what publish() was given. Use from one event loop."""

    def __init__(self, socket: Path, *, clock: Clock | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self._socket = socket
        self._clock = clock or SystemClock()
        self._patience = patience
        self._encoder = Encoder()
        self._publishing = asyncio.Lock()
        self._image: Image | None = None
        self._good: dict[tuple[str, str], Encoded] = {}
        self._streams: dict[Stream, asyncio.Event] = {}  # oldest first, each with what wakes it
        self._node = ""
        self.progress: Latest[int] = Latest(0)  # rises whenever a client may have come nearer to what is published
        self.verdicts: asyncio.Queue[Sequence[Verdict]] = asyncio.Queue()  # on rules that a client was shown alone
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
            image = await asyncio.to_thread(self._encoder.publish, generation, resources)
            for rejection in image.broken:
                log.warning("%s %s %s", rejection.kind, rejection.name, rejection.detail)
            changed = {kind for kind in KINDS if not image.same(self._image, kind)}
            self._image = image
            for kind, name in [key for key in self._good if key[0] in changed and not image.has(*key)]:
                del self._good[kind, name]
            for stream, wake in self._streams.items():
                stream.publish(image)
                wake.set()

    async def wait_applied(self, generation: int, timeout: float) -> bool:
        """Wait until a client answered every part of the generation or a later one; False after timeout seconds.

        An answer may be a refusal: see rejected().
        """
        try:
            async with asyncio.timeout(timeout):
                while self.answered() < generation:
                    await self.progress.newer(self.progress.version)
        except TimeoutError:
            return False
        return True

    def status(self) -> XdsStatus:
        """What is published, confirmed and refused now, on the newest stream."""
        newest = self._newest()
        watches = newest.session.watches if newest else {}
        return XdsStatus(
            connected=newest is not None,
            node=self._node,
            published=self._image.generation if self._image else 0,
            applied=self.answered(),
            types={
                kind: TypeStatus(
                    published=len(watch.target),
                    held=len(watch.held),
                    sent=watch.last_nonce,
                    acked=watch.unanswered is None and not watch.late,
                )
                for kind, watch in watches.items()
            },
            nacks=self._nacks(),
        )

    def answered(self) -> int:
        """The published generation if the newest client confirmed or refused each part of it, else 0."""
        newest = self._newest()
        return newest.session.applied if newest else 0

    def asked_for(self, kind: str) -> frozenset[str]:
        """Names of one kind that the newest client asks for."""
        newest = self._newest()
        return frozenset(newest.session.watches[kind].names) if newest else frozenset()

    def waiting(self) -> frozenset[str]:
        """Names of published listeners that the newest client neither serves as published nor has refused."""
        newest = self._newest()
        if newest is None:
            return frozenset(self._image.all(LISTENERS) if self._image else ())
        return newest.session.waiting()

    def rejected(self) -> Sequence[Outcome]:
        """Resources that are not in force as published, for the status of the agent."""
        return [
            Outcome(n.name, State.FAILED, f"{n.by}: {n.detail}", tuple(str(o) for o in n.origins))
            for n in self._nacks()
        ]

    def _newest(self) -> Stream | None:
        return next(reversed(self._streams), None)

    def _nacks(self) -> tuple[Rejection, ...]:
        newest = self._newest()
        broken = self._image.broken if self._image else ()
        return broken + tuple(newest.session.withheld() if newest else ())

    # --- streams ------------------------------------------------------------------------------------------------
    @staticmethod
    def _method(serve: Callable[[Any, Any], Awaitable[None]], request: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _delta(self, _requests: Any, context: Any) -> None:
        await self._serve(Stream(DeltaStream(Session(self._good)), self._patience), context)

    async def _sotw(self, _requests: Any, context: Any) -> None:
        await self._serve(Stream(SotwStream(Session(self._good)), self._patience), context)

    async def _serve(self, stream: Stream, context: Any) -> None:
        if self._image is not None:
            stream.publish(self._image)
        wake = self._streams[stream] = asyncio.Event()
        reader = asyncio.create_task(self._read(stream, context, wake))
        reader.add_done_callback(lambda _: wake.set())
        try:
            while not reader.done():
                until = stream.idle_until()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), until and max(0.0, until - self._clock.monotonic()))
                wake.clear()
                responses, overtaken = stream.advance(self._clock.monotonic())
                if verdicts := stream.session.take_verdicts():
                    self.verdicts.put_nowait(verdicts)
                for push in overtaken:
                    some = ", ".join(encoded.name for encoded in push.put[:5])
                    log.warning("%s does not answer %s (%d: %s)", stream.node, push.kind, len(push.put), some)
                for response in responses:
                    await context.write(response)
                await self.progress.set(self.progress.value + 1)
            await reader
        finally:
            del self._streams[stream]
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, stream: Stream, context: Any, wake: asyncio.Event) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            rejection = stream.receive(message, self._clock.monotonic())
            if not stream.node:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first request must carry node.id")
            self._node = stream.node
            if rejection is not None:
                log.warning("%s refused %s %s: %s", stream.node, rejection.kind, rejection.name, rejection.detail)
            wake.set()
