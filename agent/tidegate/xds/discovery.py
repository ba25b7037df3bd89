"""Configuration for clients that are not ours: gRPC around the pure streams, one image for equal clients.

Over TCP nobody is asked who he is: whoever reaches the port reads the configuration, so no secret is ever told there,
and the address is one that the operator chose. A unix socket is for one namespace, whatever its clients say of
themselves, and tells the Secrets of that one: whom the operator lets open it is who may have them.
A client is answered when the configuration was read, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.json_format import MessageToDict

from tidegate import __version__
from tidegate.compile.facts import Facts
from tidegate.compile.others.client import XDS_CLUSTER, Client, Flavour, Sources, client
from tidegate.errors import Fatal
from tidegate.model.net import host_port
from tidegate.model.plan.envoy import TYPE_URLS
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.latest import Latest
from tidegate.xds.client_status import DEBUG, Known, chosen, others_status
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import AWAITS, KIND_OF_URL
from tidegate.xds.images import Images
from tidegate.xds.reports import Method, Reports, once, streaming
from tidegate.xds.services import ADS, SERVICES, DiscoveryService, NamespaceSocket
from tidegate.xds.session import Session
from tidegate.xds.sotw import SotwStream
from tidegate.xds.status import OthersStatus
from tidegate.xds.stream import Dialect, Stream

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 4 << 20  # bytes of one request: a hundred thousand names
MOST_STREAMS = 20_000
_OPTIONS = [("grpc.max_receive_message_length", LONGEST_MESSAGE), ("grpc.so_reuseport", 0)]


@dataclass(eq=False, slots=True)
class _Connection:
    """One stream of a client."""

    node: Any  # envoy.config.core.v3.Node
    said: Client  # who it says that it is
    separate: bool  # one of a stream for each type
    stream: Stream
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    answered: dict[str, float] = field(default_factory=dict)  # by kind: epoch seconds of the last answer
    replies: list[Any] = field(default_factory=list)  # to what is asked about other clients


class DiscoveryServer:
    """Serves what publish() was given. Use from one event loop."""

    def __init__(
        self,
        address: str,
        port: int,
        identity: str,
        clock: Clock | None = None,
        sockets: Sequence[NamespaceSocket] = (),
    ) -> None:
        """port: 0 = one that is free. identity: name of this server for those who ask who answers. sockets: on which
        Secrets are told."""
        self._address, self._wanted = address, port
        self._sockets = sockets
        self.port = 0  # that it listens on
        self._clock = clock or SystemClock()
        self._control_plane = json.dumps(
            {"Component": "tidegate", "ID": identity, "Info": {"version": __version__}}, separators=(",", ":")
        )
        self._images = Images()
        self._reports = Reports(self.clients)
        self._making = asyncio.Lock()
        self._connections: dict[_Connection, None] = {}
        # Of clients with a stream for each type, by node id and address.
        self._peers: dict[tuple[str, str], list[Session]] = {}
        self._servers: list[grpc.aio.Server] = []
        self.told: Counter[str] = Counter()  # responses by kind
        self.refused: Counter[str] = Counter()  # of those

    async def start(self) -> None:
        """Listen. Raises Fatal if the address or a socket cannot be bound."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(tuple(self._handlers("")))
        where = host_port(self._address, self._wanted)
        try:
            self.port = server.add_insecure_port(where)
        except RuntimeError as error:
            raise Fatal(f"xDS address {where}", f"cannot listen: {error}", "choose another --xds-listen") from None
        await server.start()
        self._servers.append(server)
        for one in self._sockets:
            await self._start_socket(one)

    async def _start_socket(self, wanted: NamespaceSocket) -> None:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(tuple(self._handlers(wanted.namespace)))
        old = os.umask(0o177)
        try:
            wanted.path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{wanted.path}")
        except (OSError, RuntimeError) as error:
            why = f"cannot listen: {error}"
            raise Fatal(f"xDS socket {wanted.path}", why, "name a path in a directory that is there") from None
        finally:
            os.umask(old)
        await server.start()
        self._servers.append(server)

    async def stop(self) -> None:
        """Close every stream. Clients keep what they have and come back."""
        servers, self._servers = self._servers, []
        await asyncio.gather(*(server.stop(grace=None) for server in servers))

    async def publish(self, facts: Facts) -> None:
        """Make these facts what every client should have."""
        async with self._making:
            self._images.publish(facts, [connection.said for connection in self._connections])
            for connection in list(self._connections):
                await self._tell(connection)

    async def follow(self, facts: Latest[Facts]) -> None:
        """Until cancelled: publish whatever becomes true."""
        version = 0
        while True:
            version, now = await facts.newer(version)
            await self.publish(now)

    def clients(self) -> list[Known]:
        """Who is connected and asked for configuration, each once."""
        by_id: dict[str, Known] = {}
        for connection in self._connections:
            known = by_id.get(connection.node.id)
            sessions = [*(known.sessions if known else ()), connection.stream.session]
            answered = {**(known.answered if known else {}), **connection.answered}
            by_id[connection.node.id] = Known(connection.node, sessions, answered)
        return chosen(by_id.values(), ())

    def status(self) -> OthersStatus:
        """How clients do, for people. Nothing in it is why this server would not be well: anybody may refuse."""
        where = [host_port(self._address, self.port), *(str(one.path) for one in self._sockets)]
        flavours = Counter(flavour.value for flavour in {c.node.id: c.said.flavour for c in self._connections}.values())
        streams = len(self._connections)
        told = others_status(self.clients())
        return replace(
            told,
            listening=tuple(where),
            generation=self._images.generation,
            flavours=flavours,
            streams=streams,
            left_out=tuple(self._images.left_out()),
        )

    async def _tell(self, connection: _Connection) -> None:
        image = await self._images.of(connection.said, connection.node.id)
        if image is not None:
            connection.stream.publish(image)
            connection.wake.set()

    # --- methods ------------------------------------------------------------------------------------------------
    def _handlers(self, realm: str) -> list[Any]:
        """realm: the namespace of all who come; empty: that of which they say that they are."""
        found = []
        for service in SERVICES.values():
            methods = {
                service.sotw: streaming(self._method(service, SotwStream, realm), discovery_pb2.DiscoveryRequest),
                service.delta: streaming(
                    self._method(service, DeltaStream, realm), discovery_pb2.DeltaDiscoveryRequest
                ),
            }
            if service.fetch:
                methods[service.fetch] = once(self._fetching(service, realm), discovery_pb2.DiscoveryRequest)
            found.append(grpc.method_handlers_generic_handler(service.name, methods))
        found.append(self._reports.handler())
        return found

    def _method(self, service: DiscoveryService, dialect: Callable[[Session], Dialect], realm: str) -> Method:
        async def serve(_: Any, context: Any) -> None:
            await self._serve(service, dialect, realm, context)

        return serve

    def _fetching(self, service: DiscoveryService, realm: str) -> Method:
        async def fetch(request: Any, context: Any) -> Any:
            await self._ready(request, context)
            image = await self._images.once(_said(request.node, service, realm, delta=False))
            [kind] = service.kinds
            names = list(request.resource_names) or ([] if image.on_demand(kind) else sorted(image.all(kind)))
            answer = discovery_pb2.DiscoveryResponse(type_url=TYPE_URLS[kind], version_info=str(image.generation))
            answer.control_plane.identifier = self._control_plane
            for encoded in filter(None, (image.get(kind, name) for name in names)):
                answer.resources.add(type_url=TYPE_URLS[kind], value=encoded.data)
            return answer

        return fetch

    async def _ready(self, message: Any, context: Any) -> None:
        """Ends the call of a client that does not say who it is, or that cannot be answered yet."""
        if not message.node.id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first request must carry node.id")
        if self._images.facts is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the configuration is not read yet")
        if len(self._connections) >= MOST_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_STREAMS} streams are open")

    async def _serve(
        self, service: DiscoveryService, dialect: Callable[[Session], Dialect], realm: str, context: Any
    ) -> None:
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        await self._ready(first, context)
        said = _said(first.node, service, realm, delta=dialect is DeltaStream)
        if said.flavour is Flavour.ROUTER and not realm:
            log.info("%s is a gateway: servers whose certificates stand in Secrets are left out", first.node.id)
        separate = service.name != ADS
        # By address, too: nobody may hold up another client by using its name.
        group = (f"{realm}/{first.node.id}", str(context.peer()).rpartition(":")[0])
        peers = self._peers.setdefault(group, []) if separate else []
        session = Session(self._images.good(said), service.kinds, peers, repeating=AWAITS)
        connection = _Connection(first.node, said, separate, Stream(dialect(session)))
        if separate:
            peers.append(session)
        self._connections[connection] = None
        reader = asyncio.create_task(self._read(connection, first, context))
        reader.add_done_callback(lambda _: connection.wake.set())
        try:
            async with self._making:
                await self._tell(connection)
            while not reader.done():
                await self._advance(connection, context)
            await reader
        finally:
            del self._connections[connection]
            if separate:
                peers.remove(session)
                if not peers:
                    self._peers.pop(group, None)
                self._wake_peers(connection)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _advance(self, connection: _Connection, context: Any) -> None:
        """Wait until there may be something to say, and say it."""
        stream = connection.stream
        until = stream.idle_until()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connection.wake.wait(), until and max(0.0, until - self._clock.monotonic()))
        connection.wake.clear()
        responses, overtaken = stream.advance(self._clock.monotonic())
        for push in overtaken:
            some = ", ".join(encoded.name for encoded in push.put[:5])
            log.warning("%s does not answer %s (%d: %s)", stream.node, push.kind, len(push.put), some)
        replies, connection.replies = connection.replies, []
        self.told.update(KIND_OF_URL[response.type_url] for response in responses)
        for response in (*replies, *responses):
            response.control_plane.identifier = self._control_plane
            await context.write(response)

    async def _read(self, connection: _Connection, first: Any, context: Any) -> None:
        message = first
        while message is not grpc.aio.EOF:
            if message.type_url.startswith(DEBUG):
                connection.replies.append(self._reports.answer(message, self._images.generation))
            rejection = connection.stream.receive(message, self._clock.monotonic())
            if rejection is not None:
                log.warning(
                    "%s refused %s %s: %s", connection.node.id, rejection.kind, rejection.name, rejection.detail
                )
            kind = KIND_OF_URL.get(message.type_url)
            if kind is not None and message.HasField("error_detail"):
                self.refused[kind] += 1
            if kind is not None and message.response_nonce:
                connection.answered[kind] = self._clock.now()
            connection.wake.set()
            self._wake_peers(connection)
            message = await context.read()

    def _wake_peers(self, connection: _Connection) -> None:
        """Other streams of the client may go on now."""
        if connection.separate:
            for other in self._connections:
                if other.separate and other.node.id == connection.node.id:
                    other.wake.set()


def _said(node: Any, service: DiscoveryService, realm: str, *, delta: bool) -> Client:
    """Who a node says that it is, and by what it has to ask for more. realm: whose it is, whatever it says."""
    sources = Sources() if service.name == ADS else Sources(XDS_CLUSTER, delta)
    metadata = MessageToDict(node.metadata) if node.HasField("metadata") else {}
    return client(node.id, metadata, sources, realm)
