"""A gRPC client or server whose configuration comes over xDS, as a process of its own: gRPC reads its bootstrap once.

Orders come as JSON, one a line, and so do answers:
{"ask": TARGET, "count": N, "metadata": {..}, "method": NAME, "deadline": S} is answered by {"codes": {CODE: N},
"versions": {VERSION: N}, "details": TEXT, "tries": N}; {"hold": TARGET} makes a call that lasts as long as the process;
{"status": 1} is answered by what the client itself says that it has, as {TYPE: {NAME: STATUS}}; {"serve": HOST:PORT}
makes a server that waits to be told how.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

AT_A_TIME = 50
_channels: dict[str, grpc.Channel] = {}
_held: list[Any] = []
_servers: list[grpc.Server] = []


def channel(target: str) -> grpc.Channel:
    if target not in _channels:
        _channels[target] = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    return _channels[target]


def hold(target: str) -> dict[str, Any]:
    call: Any = channel(target).unary_unary("/story.Story/Hang")
    _held.append(call.future(b"x"))
    return {}


def ask(order: dict[str, Any]) -> dict[str, Any]:
    call: Any = channel(order["ask"]).unary_unary(order.get("method", "/story.Story/Ask"))
    metadata = tuple(order.get("metadata", {}).items())
    codes: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    details, largest = "", 0
    left = order.get("count", 1)
    while left:
        futures = [call.future(b"x", order.get("deadline", 120), metadata) for _ in range(min(left, AT_A_TIME))]
        left -= len(futures)
        for future in futures:
            try:
                told = json.loads(future.result())
                codes["OK"] += 1
                versions[told["version"]] += 1
                largest = max(largest, told["tries"])
            except grpc.RpcError as error:
                refused: Any = error
                codes[refused.code().name] += 1
                details = refused.details()
    return {"codes": codes, "versions": versions, "details": details, "tries": largest}


def status() -> dict[str, Any]:
    import grpc_csds
    from envoy.service.status.v3 import csds_pb2

    servicer = grpc_csds.ClientStatusDiscoveryServiceServicer()
    answer = servicer.FetchClientStatus(csds_pb2.ClientStatusRequest(), None)
    out: dict[str, Any] = {}
    for config in answer.config:
        for one in config.generic_xds_configs:
            kind = one.type_url.rpartition(".")[2]
            field: Any = one.DESCRIPTOR.fields_by_name["client_status"]
            out.setdefault(kind, {})[one.name] = field.enum_type.values_by_number[one.client_status].name
    return out


def serve(address: str) -> dict[str, Any]:
    """An xDS server; it serves once it was told how."""
    server = grpc.server(ThreadPoolExecutor(4), xds=True)
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda *_: json.dumps({"version": "xds", "tries": 0}).encode())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("story.Story", {"Ask": handler}),))
    server.add_insecure_port(address)
    server.start()
    _servers.append(server)
    return {"serving": address}


def main() -> None:
    threading.current_thread().name = "orders"
    for line in sys.stdin:
        order = json.loads(line)
        if "ask" in order:
            answer = ask(order)
        elif "hold" in order:
            answer = hold(order["hold"])
        else:
            answer = serve(order["serve"]) if "serve" in order else status()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
