"""The C fast path as Python sees it: pods and services go down, counters and ended connections come up.

The engine's threads never call Python. Down: small calls that swap pointers or wait some microseconds for workers to
notice. Up: counters that are read, and a ring whose descriptor the event loop watches. Invariant: an object of this
class owns one engine, and all calls come from one thread. The only file that imports the extension.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from socket import htons, ntohs
from typing import Any, Final

from tidegate._fastpath import ffi, lib
from tidegate.errors import Fatal, Rejected, TidegateError, Transient
from tidegate.model.net import IPAddress, from_wire, to_wire
from tidegate.model.snapshot import L4Service

_ffi: Final[Any] = ffi
_lib: Final[Any] = lib

_DRAIN_BATCH = 512


class CloseReason(IntEnum):
    """Why a connection ended: enum fp_reason without its prefix (a test compares them)."""

    OK = 0
    CLIENT_RESET = 1
    SERVER_RESET = 2
    CONNECT_REFUSED = 3
    CONNECT_TIMEOUT = 4
    CONNECT_FAILED = 5
    NO_RECORD = 6
    NO_SERVICE = 7
    NO_ENDPOINT = 8
    NO_MEMORY = 9
    SHUTDOWN = 10

    @property
    def label(self) -> str:
        """The metric label."""
        return str(_ffi.string(_lib.fp_reason_name(self.value)).decode())


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """One connection, told when it has ended. Ports are host order, times are nanoseconds."""

    client: IPAddress  # as the server saw it; the peer of the listener if the connection had no record
    client_port: int  # of the application's socket; the server saw another one
    destination: IPAddress | None  # as dialled; None without a record
    destination_port: int
    endpoint: IPAddress | None  # as chosen, the last one tried; None if none was
    endpoint_port: int
    service: int  # L4Service.number, 0 = unknown
    reason: CloseReason
    netns_cookie: int
    started_ns: int  # since the epoch
    duration_ns: int
    bytes_to_server: int
    bytes_to_client: int


@dataclass(frozen=True, slots=True)
class FastPathStats:
    """Sums over all workers since the engine started. accepted == active + sum(closed) once nothing is in flight."""

    accepted: int
    active: int
    bytes_to_server: int
    bytes_to_client: int
    events_lost: int
    closed: dict[CloseReason, int]


def _error(subject: str, code: int) -> TidegateError:
    """What to raise for a negative errno of the engine."""
    number = -code
    reason = os.strerror(number)
    if number in (1, 13):  # EPERM, EACCES
        return Fatal(subject, reason, "run the agent with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF")
    if number in (11, 12, 23, 24, 105):  # EAGAIN, ENOMEM, ENFILE, EMFILE, ENOBUFS
        return Transient(subject, reason, "raise the limit on open files or memory, or try again")
    return Rejected(subject, reason)


def _wire(address: IPAddress) -> Any:
    return _ffi.new("struct tg_addr *", {"ip": to_wire(address)})


def _optional(address: Any) -> IPAddress | None:
    raw = bytes(address.ip)
    return from_wire(raw) if any(raw) else None


def _event(raw: Any) -> FlowEvent:
    return FlowEvent(
        client=from_wire(bytes(raw.client.ip)),
        client_port=ntohs(raw.client_port_be),
        destination=_optional(raw.dst),
        destination_port=ntohs(raw.dst_port_be),
        endpoint=_optional(raw.endpoint),
        endpoint_port=ntohs(raw.endpoint_port_be),
        service=raw.service,
        reason=CloseReason(raw.reason),
        netns_cookie=raw.netns_cookie,
        started_ns=raw.started_ns,
        duration_ns=raw.duration_ns,
        bytes_to_server=raw.bytes_to_server,
        bytes_to_client=raw.bytes_to_client,
    )


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit on open files to the hard one, and return it: a connection takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def capture_address(v6: bool) -> IPAddress:
    """The address inside every pod on which the fast path listens (bpf/include/tg_capture.h)."""
    return ip_address(_ffi.string(_lib.fp_capture_address(v6)).decode())


class FastPath:
    """One running engine. Make it with start()."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._scratch = _ffi.new("struct fp_event[]", _DRAIN_BATCH)
        self._stopped = asyncio.Event()

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
    ) -> FastPath:
        """Start the worker threads.

        :param flows_fd: map tg_flows; borrowed, keep it open until stop()
        :param workers: threads, 0 = one per usable CPU
        :param max_connections: of all workers together, 0 = 65536; more are reset
        :param buffer_bytes: waiting bytes per direction and connection, 0 = 65536
        :param connect_timeout: seconds per attempt, 0 = 10
        :param pool_mib: bound of all buffers together in MiB, 0 = 256
        :raises TidegateError: by what the kernel refused
        """
        config = _ffi.new("struct fp_config *")
        config.workers = workers
        config.flows_fd = flows_fd
        config.max_connections = max_connections
        config.buffer_bytes = buffer_bytes
        config.connect_timeout_ms = round(connect_timeout * 1000)
        config.pool_mib = pool_mib
        engine = _ffi.new("struct fp_engine **")
        code = _lib.fp_engine_start(config, engine)
        if code:
            raise _error("fast path", code)
        return cls(engine[0])

    def add_pod(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]:
        """Listen inside a pod.

        :param cookie: SO_NETNS_COOKIE of the pod's netns
        :param netns_fd: borrowed for the call
        :param v6: the v6 capture address is on the pod's lo
        :return: host-order ports on the v4 and on the v6 capture address; the latter is 0 without v6
        :raises Rejected: the pod is known already, or its netns cannot be entered or listened in
        """
        pod = _ffi.new("struct fp_pod *")
        pod.netns_cookie = cookie
        pod.netns_fd = netns_fd
        pod.flags = _lib.TG_POD_V6_CAPTURE if v6 else 0
        ports = _ffi.new("struct fp_ports *")
        code = _lib.fp_pod_add(self._live(), pod, ports)
        if code:
            raise _error(f"fast path listener of netns {cookie}", code)
        return ntohs(ports.port4_be), ntohs(ports.port6_be)

    def remove_pod(self, cookie: int) -> None:
        """Close the pod's listeners and reset its connections. Raises Rejected if the pod is unknown."""
        code = _lib.fp_pod_remove(self._live(), cookie)
        if code:
            raise _error(f"fast path listener of netns {cookie}", code)

    def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        """Replace all services. New connections see them at once, live ones keep their endpoint.

        :raises Rejected: two services claim one address; the services in force stay as they are
        """
        handle = _ffi.new("struct fp_image **")
        code = _lib.fp_image_new(generation, handle)
        image = _ffi.gc(handle[0], _lib.fp_image_free) if code == 0 else None
        for service in services:
            code = code or self._build(image, service)
        if image is not None and code == 0:
            # The engine owns the image from here on, whatever it says.
            code = _lib.fp_publish(self._live(), _ffi.gc(image, None))
        if code:
            raise _error(f"fast path services of generation {generation}", code)

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
        return int(_lib.fp_generation(self._live()))

    def stats(self) -> FastPathStats:
        raw = _ffi.new("struct fp_stats *")
        _lib.fp_stats_read(self._live(), raw)
        return FastPathStats(
            accepted=raw.accepted,
            active=raw.active,
            bytes_to_server=raw.bytes_to_server,
            bytes_to_client=raw.bytes_to_client,
            events_lost=raw.events_lost,
            closed={reason: raw.closed[reason.value] for reason in CloseReason},
        )

    async def events(self) -> AsyncIterator[FlowEvent]:
        """Ended connections as they come, in order per worker; ends after stop(). For one consumer."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = _lib.fp_event_fd(self._live())
        loop.add_reader(descriptor, readable.set)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            while True:
                last = self._stopped.is_set()
                readable.clear()
                batch = self._drain()
                for event in batch:
                    yield event
                if len(batch) == _DRAIN_BATCH:
                    continue
                if last:
                    return
                ready = asyncio.ensure_future(readable.wait())
                await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
        finally:
            stopped.cancel()
            loop.remove_reader(descriptor)

    def _drain(self) -> list[FlowEvent]:
        count = _lib.fp_events_drain(self._live(), self._scratch, _DRAIN_BATCH)
        return [_event(self._scratch[i]) for i in range(count)]

    async def stop(self, drain: float) -> None:
        """Refuse new connections, give live ones `drain` seconds to end, reset the rest, end the threads.

        Afterwards stats() still answers and events() delivers what is left; the engine's memory goes with this object.
        """
        if self._stopped.is_set():
            return
        await asyncio.to_thread(_lib.fp_engine_stop, self._live(), round(drain * 1000))
        self._engine = _ffi.gc(self._engine, _lib.fp_engine_free)
        self._stopped.set()

    def _live(self) -> Any:
        return self._engine
