"""Configuration for clients that are not ours, over TCP: gRPC around the pure streams, one image for equal clients.

Nobody is asked who he is: whoever reaches the port reads the configuration, so no secret is ever told here, and the
address is one that the operator chose. A client is answered when the configuration was read, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf.json_format import MessageToDict

from tidegate import __version__
from tidegate.compile.facts import Facts
from tidegate.compile.others.client import XDS_CLUSTER, Client, Flavour, Sources, client
from tidegate.compile.others.served import known as known_to
from tidegate.compile.others.served import resources
from tidegate.errors import Fatal
from tidegate.model.net import host_port
from tidegate.model.plan.envoy import SECRETS, TYPE_URLS
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.latest import Latest
from tidegate.xds.client_status import DEBUG, SYNCZ, Known, chosen, client_status, matches, syncz
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import AWAITS, KIND_OF_URL, KINDS, Encoded, Encoder, Image
from tidegate.xds.services import ADS, CSDS, SERVICES, DiscoveryService
from tidegate.xds.session import Session
from tidegate.xds.sotw import SotwStream
from tidegate.xds.stream import Dialect, Stream

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 4 << 20  # bytes of one request: a hundred thousand names
MOST_STREAMS = 20_000
_OPTIONS = [("grpc.max_receive_message_length", LONGEST_MESSAGE), ("grpc.so_reuseport", 0)]

Method = Callable[[Any, Any], Awaitable[Any]]


@dataclass(eq=False, slots=True)
class _Shared:
    """What equal clients share."""

    encoder: Encoder = field(default_factory=Encoder)
    good: dict[tuple[str, str], Encoded] = field(default_factory=dict)
    image: Image | None = None
    facts: Facts | None = None  # that the image is of


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

    def __init__(self, address: str, port: int, identity: str, clock: Clock | None = None) -> None:
        """port: 0 = one that is free. identity: name of this server for those who ask who answers."""
        self._address, self._wanted = address, port
        self.port = 0  # that it listens on
        self._clock = clock or SystemClock()
        self._control_plane = json.dumps(
            {"Component": "tidegate", "ID": identity, "Info": {"version": __version__}}, separators=(",", ":")
        )
        self._facts: Facts | None = None
        self._generation = 0
        self._making = asyncio.Lock()
        self._shared: dict[Client, _Shared] = {}
        self._connections: dict[_Connection, None] = {}
        # Of clients with a stream for each type, by node id and address.
        self._peers: dict[tuple[str, str], list[Session]] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises Fatal if the address cannot be bound."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        where = host_port(self._address, self._wanted)
        try:
            self.port = server.add_insecure_port(where)
        except RuntimeError as error:
            raise Fatal(f"xDS address {where}", f"cannot listen: {error}", "choose another --xds-listen") from None
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Close every stream. Clients keep what they have and come back."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def publish(self, facts: Facts) -> None:
        """Make these facts what every client should have."""
        async with self._making:
            self._facts = facts
            self._generation += 1
            self._forget()
            for connection in list(self._connections):
                await self._tell(connection, facts)

    def clients(self) -> list[Known]:
        """Who is connected and asked for configuration, each once."""
        by_id: dict[str, Known] = {}
        for connection in self._connections:
            known = by_id.get(connection.node.id)
            sessions = [*(known.sessions if known else ()), connection.stream.session]
            answered = {**(known.answered if known else {}), **connection.answered}
            by_id[connection.node.id] = Known(connection.node, sessions, answered)
        return chosen(by_id.values(), ())

    async def _tell(self, connection: _Connection, facts: Facts) -> None:
        who = known_to(facts, connection.said)
        shared = self._shared.setdefault(who, _Shared())
        if shared.image is None or shared.facts is not facts:
            try:
                made = await asyncio.to_thread(_image, shared.encoder, self._generation, facts, who)
            except Exception:
                # Whatever it is, it concerns clients like this one, and they keep what they have.
                log.exception("no configuration can be made for %s", connection.node.id)
                return
            for rejection in made.broken:
                log.warning("%s %s %s", rejection.kind, rejection.name, rejection.detail)
            shared.image, shared.facts = made, facts
        connection.stream.publish(shared.image)
        connection.wake.set()

    def _forget(self) -> None:
        """Drop what nobody needs any more who is connected."""
        if self._facts is not None:
            needed = {known_to(self._facts, connection.said) for connection in self._connections}
            self._shared = {who: shared for who, shared in self._shared.items() if who in needed}

    # --- methods ------------------------------------------------------------------------------------------------
    def _handlers(self) -> list[Any]:
        found = []
        for service in SERVICES.values():
            methods = {
                service.sotw: _streaming(self._method(service, SotwStream), discovery_pb2.DiscoveryRequest),
                service.delta: _streaming(self._method(service, DeltaStream), discovery_pb2.DeltaDiscoveryRequest),
            }
            if service.fetch:
                methods[service.fetch] = _once(self._fetching(service), discovery_pb2.DiscoveryRequest)
            found.append(grpc.method_handlers_generic_handler(service.name, methods))
        methods = {
            "StreamClientStatus": _streaming(self._stream_status, csds_pb2.ClientStatusRequest),
            "FetchClientStatus": _once(self._fetch_status, csds_pb2.ClientStatusRequest),
        }
        found.append(grpc.method_handlers_generic_handler(CSDS, methods))
        return found

    def _method(self, service: DiscoveryService, dialect: Callable[[Session], Dialect]) -> Method:
        async def serve(_: Any, context: Any) -> None:
            await self._serve(service, dialect, context)

        return serve

    def _fetching(self, service: DiscoveryService) -> Method:
        async def fetch(request: Any, context: Any) -> Any:
            facts = await self._ready(request, context)
            said = _said(request.node, service, delta=False)
            who = known_to(facts, said)
            image = await asyncio.to_thread(_image, Encoder(), self._generation, facts, who)
            [kind] = service.kinds
            names = list(request.resource_names) or ([] if image.on_demand(kind) else sorted(image.all(kind)))
            answer = discovery_pb2.DiscoveryResponse(type_url=TYPE_URLS[kind], version_info=str(self._generation))
            answer.control_plane.identifier = self._control_plane
            for encoded in filter(None, (image.get(kind, name) for name in names)):
                answer.resources.add(type_url=TYPE_URLS[kind], value=encoded.data)
            return answer

        return fetch

    async def _ready(self, message: Any, context: Any) -> Facts:
        """The facts, for a client that says who it is; ends the call otherwise."""
        if not message.node.id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first request must carry node.id")
        if self._facts is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the configuration is not read yet")
        if len(self._connections) >= MOST_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_STREAMS} streams are open")
        assert self._facts is not None
        return self._facts

    async def _serve(self, service: DiscoveryService, dialect: Callable[[Session], Dialect], context: Any) -> None:
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        facts = await self._ready(first, context)
        said = _said(first.node, service, delta=dialect is DeltaStream)
        if said.flavour is Flavour.ROUTER:
            log.info("%s is a gateway: servers that need a certificate are left out", first.node.id)
        separate = service.name != ADS
        # By address, too: nobody may hold up another client by using its name.
        group = (first.node.id, str(context.peer()).rpartition(":")[0])
        peers = self._peers.setdefault(group, []) if separate else []
        good = self._shared.setdefault(known_to(facts, said), _Shared()).good
        session = Session(good, service.kinds, peers, repeating=AWAITS)
        connection = _Connection(first.node, said, separate, Stream(dialect(session)))
        if separate:
            peers.append(session)
        self._connections[connection] = None
        reader = asyncio.create_task(self._read(connection, first, context))
        reader.add_done_callback(lambda _: connection.wake.set())
        try:
            async with self._making:
                await self._tell(connection, self._facts or facts)
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
        for response in (*replies, *responses):
            response.control_plane.identifier = self._control_plane
            await context.write(response)

    async def _read(self, connection: _Connection, first: Any, context: Any) -> None:
        message = first
        while message is not grpc.aio.EOF:
            if message.type_url.startswith(DEBUG):
                connection.replies.append(self._about_others(message))
            rejection = connection.stream.receive(message, self._clock.monotonic())
            if rejection is not None:
                log.warning(
                    "%s refused %s %s: %s", connection.node.id, rejection.kind, rejection.name, rejection.detail
                )
            kind = KIND_OF_URL.get(message.type_url)
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

    def _about_others(self, message: Any) -> Any:
        """Answer to istio.io/debug/...; one without content for what is not known."""
        found = chosen(self.clients(), set(getattr(message, "resource_names", ()))) if message.type_url == SYNCZ else []
        delta = isinstance(message, discovery_pb2.DeltaDiscoveryRequest)
        answer: Any = discovery_pb2.DeltaDiscoveryResponse() if delta else discovery_pb2.DiscoveryResponse()
        answer.type_url, answer.nonce = message.type_url, f"debug-{self._generation}"
        for known in found:
            config = syncz(known, __version__)
            if delta:
                answer.resources.add(name=config.node.id).resource.Pack(config)
            else:
                answer.resources.add().Pack(config)
        return answer

    async def _stream_status(self, _: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(await self._fetch_status(request, context))

    async def _fetch_status(self, request: Any, context: Any) -> Any:
        try:
            found = [known for known in self.clients() if matches(known, request.node_matchers)]
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        contents = not request.exclude_resource_contents
        return csds_pb2.ClientStatusResponse(config=[client_status(known, contents) for known in found])


async def follow_facts(server: DiscoveryServer, facts: Latest[Facts]) -> None:
    """Until cancelled: publish whatever becomes true."""
    version = 0
    while True:
        version, now = await facts.newer(version)
        await server.publish(now)


def _image(encoder: Encoder, generation: int, facts: Facts, who: Client) -> Image:
    made = {**resources(facts, who), SECRETS: {}}  # see above: nobody has shown who he is
    return encoder.publish(generation, {kind: made.get(kind, {}) for kind in KINDS})


def _said(node: Any, service: DiscoveryService, *, delta: bool) -> Client:
    """Who a node says that it is, and by what it has to ask for more."""
    sources = Sources() if service.name == ADS else Sources(XDS_CLUSTER, delta)
    return client(node.id, MessageToDict(node.metadata) if node.HasField("metadata") else {}, sources)


def _streaming(method: Method, request: Any) -> Any:
    return grpc.stream_stream_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda message: message.SerializeToString()
    )


def _once(method: Method, request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda message: message.SerializeToString()
    )
