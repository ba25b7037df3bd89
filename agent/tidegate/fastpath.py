"""The C fast path as Python sees it: pods and services go down, counters and what became of connections come up.

The engine's threads never call Python. Down: small calls that swap pointers or wait some microseconds for workers to
notice. Up: counters that are read, and a ring whose descriptor the event loop watches. Invariant: an object of this
class owns one engine until it is collected; calls may come from any thread. The only file that imports the extension.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from socket import htons, ntohs
from typing import Any, Final

from tidegate._fastpath import ffi, lib
from tidegate.errors import Rejected
from tidegate.model.net import IPAddress, from_wire, to_wire
from tidegate.model.plan.relay import L4Service

_ffi: Final[Any] = ffi
_lib: Final[Any] = lib

_DRAIN_BATCH = 512


class CloseReason(StrEnum):
    """Why a connection ended, in the order of enum fp_reason (a test compares them); the value is the metric label."""

    OK = "ok"
    CLIENT_RESET = "client_reset"
    SERVER_RESET = "server_reset"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    NO_RECORD = "no_record"  # no original destination: somebody dialled the listener itself
    NO_SERVICE = "no_service"
    NO_ENDPOINT = "no_endpoint"
    NO_MEMORY = "no_memory"  # a bound was reached: connections, buffers, descriptors
    SHUTDOWN = "shutdown"  # engine stopped or pod removed


_REASONS: Final = tuple(CloseReason)


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """What is new of a connection since it was told about last. Ports are host order, times are nanoseconds.

    Of one, if the engine was started with each_event, else the sum over those that differ in client port and time only:
    then client_port and started_ns are those of the first, duration_ns and the bytes are sums. A connection is told
    about when it ended, and while it lives every few seconds that brought something new: then connections is 0, reason
    OK.
    """

    client: IPAddress  # as the server saw it; the peer of the listener if the connection had no record
    client_port: int  # of the application's socket; the server saw another one
    dst: IPAddress | None  # as dialled; None without a record
    dst_port: int
    endpoint: IPAddress | None  # as chosen, the last one tried; None if none was
    endpoint_port: int
    service: int  # L4Service.number, 0 = unknown
    reason: CloseReason
    netns_cookie: int
    started_ns: int  # since the epoch
    duration_ns: int  # of those that ended
    bytes_to_server: int
    bytes_to_client: int
    earlier_to_server: int = 0  # bytes told before; only with each_event
    earlier_to_client: int = 0
    opened: int = 1  # how many are told about for the first time
    connections: int = 1  # how many ended


@dataclass(frozen=True, slots=True)
class FastPathStats:
    """Sums over all workers since the engine started. accepted == active + sum(closed) once nothing is in flight."""

    accepted: int
    active: int
    bytes_to_server: int
    bytes_to_client: int
    events_lost: int
    closed: Mapping[str, int]  # by CloseReason


def _check(code: int, subject: str) -> None:
    """Raise OSError for a negative errno of the engine."""
    if code < 0:
        raise OSError(-code, f"{subject}: {os.strerror(-code)}")


def _wire(address: IPAddress) -> Any:
    return _ffi.new("struct tg_addr *", {"ip": to_wire(address)})


def _optional(address: Any) -> IPAddress | None:
    raw = bytes(address.ip)
    return from_wire(raw) if any(raw) else None


def _event(raw: Any) -> FlowEvent:
    return FlowEvent(
        client=from_wire(bytes(raw.client.ip)),
        client_port=ntohs(raw.client_port_be),
        dst=_optional(raw.dst),
        dst_port=ntohs(raw.dst_port_be),
        endpoint=_optional(raw.endpoint),
        endpoint_port=ntohs(raw.endpoint_port_be),
        service=raw.service,
        reason=_REASONS[raw.reason],
        netns_cookie=raw.netns_cookie,
        started_ns=raw.started_ns,
        duration_ns=raw.duration_ns,
        bytes_to_server=raw.bytes_to_server,
        bytes_to_client=raw.bytes_to_client,
        earlier_to_server=raw.earlier_to_server,
        earlier_to_client=raw.earlier_to_client,
        opened=raw.opened,
        connections=raw.connections,
    )


class FastPath:
    """One running engine. Make it with start()."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._scratch = _ffi.new("struct fp_event[]", _DRAIN_BATCH)
        self._stopped = False

    @classmethod
    def start(
        cls,
        *,
        flows_fd: int,
        workers: int = 0,
        max_connections: int = 0,
        buffer_bytes: int = 0,
        connect_timeout: float = 0,
        pool_mib: int = 0,
        each_event: bool = False,
        report: float = 0,
    ) -> FastPath:
        """Start the worker threads, and raise this process's soft limit on open files: a connection takes two.

        :param flows_fd: map tg_flows; borrowed, keep it open until stop()
        :param workers: threads, 0 = one per usable CPU
        :param max_connections: of all workers together, 0 = 65536; more are reset, and so is what a pod opens beyond
            twice the number that is still free: no pod alone can use up the node's
        :param buffer_bytes: of one read, and waiting per direction and connection at most, 0 = 262144
        :param connect_timeout: seconds per attempt, 0 = 10
        :param pool_mib: bound of all buffers together in MiB, 0 = 256
        :param each_event: tell events() about each connection by itself, for an access log
        :param report: seconds between events of a connection that lives, rounded up to the next second of the clock,
            0 = 5
        :raises OSError: what the kernel refused
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        config = _ffi.new("struct fp_config *")
        config.workers = workers
        config.flows_fd = flows_fd
        config.max_connections = max_connections
        config.buffer_bytes = buffer_bytes
        config.connect_timeout_ms = round(connect_timeout * 1000)
        config.pool_mib = pool_mib
        config.each_event = each_event
        config.report_ms = round(report * 1000)
        engine = _ffi.new("struct fp_engine **")
        _check(_lib.fp_engine_start(config, engine), "fast path")
        return cls(engine[0])

    def add_pod(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]:
        """Listen inside a pod.

        :param cookie: SO_NETNS_COOKIE of the pod's netns
        :param netns_fd: borrowed for the call
        :param v6: the v6 capture prefix is routed to the pod's lo
        :return: host-order ports on the v4 and on the v6 capture address; the latter is 0 without v6
        :raises OSError: EEXIST if the pod is known already, else why its netns cannot be entered or listened in
        """
        pod = _ffi.new("struct fp_pod *")
        pod.netns_cookie = cookie
        pod.netns_fd = netns_fd
        pod.flags = _lib.TG_POD_V6_CAPTURE if v6 else 0
        ports = _ffi.new("struct fp_ports *")
        _check(_lib.fp_pod_add(self._engine, pod, ports), f"fast path listener in netns {cookie}")
        return ntohs(ports.port4_be), ntohs(ports.port6_be)

    def remove_pod(self, cookie: int) -> None:
        """Close the pod's listeners and reset its connections. Raises OSError(ENOENT) if the pod is unknown."""
        _check(_lib.fp_pod_remove(self._engine, cookie), f"fast path listener in netns {cookie}")

    def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        """Replace all services. New connections see them at once, live ones keep their endpoint.

        :raises Rejected: two services claim one address
        :raises OSError: no memory. After either the services in force stay as they are
        """
        handle = _ffi.new("struct fp_image **")
        code = _lib.fp_image_new(generation, handle)
        image = _ffi.gc(handle[0], _lib.fp_image_free) if code == 0 else None
        for service in services:
            code = code or self._build(image, service)
        if image is not None and code == 0:
            _ffi.gc(image, None)  # the engine owns it from here on, whatever it says
            code = _lib.fp_publish(self._engine, image)
        subject = f"fast path services of generation {generation}"
        if code == -errno.EEXIST:
            raise Rejected(subject, "two services claim one address and port", "give each its own")
        _check(code, subject)

    @staticmethod
    def _build(image: Any, service: L4Service) -> int:
        code = _lib.fp_image_service(image, service.number, service.name.encode(), service.balancing)
        for address, port in service.addresses:
            code = code or _lib.fp_image_address(image, _wire(address), htons(port))
        for endpoint in service.endpoints:
            code = code or _lib.fp_image_endpoint(image, _wire(endpoint.address), htons(endpoint.port), endpoint.weight)
        return int(code)

    @property
    def generation(self) -> int:
        """Of the services in force; 0 before the first publish()."""
        return int(_lib.fp_generation(self._engine))

    def stats(self) -> FastPathStats:
        raw = _ffi.new("struct fp_stats *")
        _lib.fp_stats_read(self._engine, raw)
        return FastPathStats(
            accepted=raw.accepted,
            active=raw.active,
            bytes_to_server=raw.bytes_to_server,
            bytes_to_client=raw.bytes_to_client,
            events_lost=raw.events_lost,
            closed={reason: raw.closed[i] for i, reason in enumerate(_REASONS)},
        )

    async def events(self) -> AsyncIterator[FlowEvent]:
        """What became of connections, some 0.2 s later at most; ends after stop(). For one consumer.

        With each_event they come in order per worker.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = _lib.fp_event_fd(self._engine)
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                readable.clear()
                count = _lib.fp_events_drain(self._engine, self._scratch, _DRAIN_BATCH)
                if count < 0:  # -ESHUTDOWN: stopped, and all is told
                    return
                for raw in range(count):
                    yield _event(self._scratch[raw])
                if not count:
                    await readable.wait()
        finally:
            loop.remove_reader(descriptor)

    def stop(self, drain: float) -> None:
        """Refuse new connections, give live ones `drain` seconds to end, reset the rest, end the threads.

        Blocks for up to that long. Afterwards stats() still answers, and events() delivers what is left and ends.
        """
        if self._stopped:
            return
        _lib.fp_engine_stop(self._engine, round(drain * 1000))
        self._engine = _ffi.gc(self._engine, _lib.fp_engine_free)
        self._stopped = True
