"""What clients of one server are told about others: CSDS, and Istio's istio.io/debug/..., around the pure answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from tidegate import __version__
from tidegate.xds.client_status import (
    CONFIG_DUMP,
    DEBUG,
    SYNCZ,
    Known,
    chosen,
    client_status,
    config_dump,
    matches,
    syncz,
)
from tidegate.xds.services import CSDS

NOT_HERE = (
    "tidegate has no pages under /debug: ask `istioctl proxy-status` who has what, `istioctl proxy-status POD` what one"
    " should have, and `tidegate status` how this server does"
)
Method = Callable[[Any, Any], Awaitable[Any]]


class Reports:
    """Answers of one server. clients: who is connected and asked for configuration, each once."""

    def __init__(self, clients: Callable[[], Sequence[Known]]) -> None:
        self._clients = clients

    def answer(self, message: Any, generation: int) -> Any:
        """Answer to istio.io/debug/...; one without content for what is not known, and a sentence for who is a person
        (`istioctl experimental internal-debug`)."""
        names = set(getattr(message, "resource_names", ()) or getattr(message, "resource_names_subscribe", ()))
        delta = isinstance(message, discovery_pb2.DeltaDiscoveryRequest)
        answer: Any = discovery_pb2.DeltaDiscoveryResponse() if delta else discovery_pb2.DiscoveryResponse()
        answer.type_url, answer.nonce = message.type_url, f"debug-{generation}"
        for name, told in self._told(message.type_url, names):
            (answer.resources.add(name=name).resource if delta else answer.resources.add()).Pack(told)
        if message.type_url == DEBUG:
            one = answer.resources.add(name="text").resource if delta else answer.resources.add()
            one.type_url, one.value = DEBUG, NOT_HERE.encode()
        return answer

    def _told(self, type_url: str, names: Collection[str]) -> Iterator[tuple[str, Any]]:
        if type_url == SYNCZ:
            for known in chosen(self._clients(), names):
                config = syncz(known, __version__)
                yield config.node.id, config
        elif type_url == CONFIG_DUMP and len(names) == 1:
            for known in chosen(self._clients(), names)[:1]:
                yield from ((dump.DESCRIPTOR.full_name, dump) for dump in config_dump(known))

    def handler(self) -> Any:
        """The service ClientStatusDiscoveryService."""
        methods = {
            "StreamClientStatus": streaming(self._stream_status, csds_pb2.ClientStatusRequest),
            "FetchClientStatus": once(self._fetch_status, csds_pb2.ClientStatusRequest),
        }
        return grpc.method_handlers_generic_handler(CSDS, methods)

    async def _stream_status(self, _: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(await self._fetch_status(request, context))

    async def _fetch_status(self, request: Any, context: Any) -> Any:
        try:
            found = [known for known in self._clients() if matches(known, request.node_matchers)]
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        contents = not request.exclude_resource_contents
        return csds_pb2.ClientStatusResponse(config=[client_status(known, contents) for known in found])


def streaming(method: Method, request: Any) -> Any:
    """A method of two streams. request: the message that comes."""
    return grpc.stream_stream_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda message: message.SerializeToString()
    )


def once(method: Method, request: Any) -> Any:
    """A method of one message each way."""
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda message: message.SerializeToString()
    )
