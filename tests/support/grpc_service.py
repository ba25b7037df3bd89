"""gRPC server and client that test pods run; both sides move bytes and JSON, so no generated code is needed.

Server: `grpc_service.py serve PORT`. Methods of /story.Story: Ask (unary; answers who it is and what it got), Count
(server streaming; N messages), Echo (both ways), Play (both ways: each side speaks when the other has spoken). Metadata
of a request: `fail: N` with `key: K` answers UNAVAILABLE to the first N calls of that key; `wait: S` waits; `refuse:
MESSAGE` ends with FAILED_PRECONDITION.
Client: `grpc_service.py ask TARGET [-H k:v]... [--count N] [--method M] [--deadline S]` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

seen: Counter[str] = Counter()
lock = threading.Lock()


def _obey(context: grpc.ServicerContext) -> dict[str, str]:
    """Do what the metadata asks for; returns the metadata."""
    told = {str(key): str(value) for key, value in context.invocation_metadata()}
    context.set_trailing_metadata((("x-version", os.environ.get("VERSION", "")),))
    if "wait" in told:
        time.sleep(float(told["wait"]))
    if "fail" in told:
        with lock:
            seen[told["key"]] += 1
            failing = seen[told["key"]] <= int(told["fail"])
        if failing:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
    if "refuse" in told:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, told["refuse"])
    return told


def ask(request: bytes, context: grpc.ServicerContext) -> bytes:
    told = _obey(context)
    who = {"version": os.environ.get("VERSION", ""), "peer": context.peer(), "metadata": told, "bytes": len(request)}
    return json.dumps({**who, "tries": seen[told.get("key", "")]}).encode()


def count(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    _obey(context)
    for number in range(int(request)):
        yield str(number).encode()


def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    _obey(context)
    yield from requests


def play(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    _obey(context)
    for number, _ in enumerate(requests):
        yield str(number).encode()


def _turns(count: int, heard: queue.SimpleQueue[bytes]) -> Iterator[bytes]:
    """`count` messages, each after an answer to the one before."""
    for number in range(count):
        if number:
            heard.get()
        yield b"x"


def serve(port: str) -> None:
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Ask": grpc.unary_unary_rpc_method_handler(ask),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Play": grpc.stream_stream_rpc_method_handler(play),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("story.Story", methods),))
    assert server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


def _one(
    channel: grpc.Channel, options: argparse.Namespace, metadata: tuple[tuple[str, str | bytes], ...]
) -> dict[str, Any]:
    start = time.monotonic()
    out: dict[str, Any] = {"code": "OK", "messages": []}
    path = f"/story.Story/{options.method}"
    body = options.body.encode() * options.repeat
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    try:
        call: Any
        streaming: Any = channel.stream_stream(path)
        if options.method == "Ask":
            ask: Any = channel.unary_unary(path)
            answer, call = ask.with_call(body, options.deadline, metadata)
            out["answer"] = json.loads(answer)
        else:
            if options.method == "Count":
                call = channel.unary_stream(path)(body, options.deadline, metadata)
            elif options.method == "Play":
                call = streaming(_turns(int(body), heard), options.deadline, metadata)
            else:
                call = streaming(iter([body] * 5), options.deadline, metadata)
            for message in call:
                out["messages"].append(len(message))
                heard.put(message)
        out["trailers"] = {str(k): str(v) for k, v in call.trailing_metadata() or ()}
    except grpc.RpcError as refused:
        error: Any = refused
        out |= {"code": error.code().name, "details": error.details()}
        out["trailers"] = {str(k): str(v) for k, v in error.trailing_metadata() or ()}
    out["seconds"] = time.monotonic() - start
    return out


def client(options: argparse.Namespace) -> None:
    metadata = tuple((k.strip(), v.strip()) for k, _, v in (h.partition(":") for h in options.headers))
    settings = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(options.target, options=[*settings, ("grpc.enable_http_proxy", 0)]) as channel:
        if not options.count:
            json.dump(_one(channel, options, metadata), sys.stdout)
            return
        answers = [_one(channel, options, metadata) for _ in range(options.count)]
    versions = Counter(answer.get("answer", {}).get("version", "") for answer in answers)
    json.dump({"codes": Counter(answer["code"] for answer in answers), "versions": versions}, sys.stdout)


def main() -> None:
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do")
    parser.add_argument("target")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("--method", default="Ask", choices=["Ask", "Count", "Echo", "Play"])
    parser.add_argument("--body", default="1")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=120)
    parser.add_argument("--count", type=int, default=0)
    client(parser.parse_args())


if __name__ == "__main__":
    main()
