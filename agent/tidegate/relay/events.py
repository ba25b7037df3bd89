"""What the relay tells: what became of connections, and counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from socket import ntohs
from typing import Any, Final

from tidegate.model.authorization import PolicyVerdict
from tidegate.model.net import IPAddress, from_wire
from tidegate.relay.abi import ffi, lib, rows


class CloseReason(StrEnum):
    """Why a connection ended: the list of fp_reason.h. The value is the metric label."""

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
    SHUTDOWN = "shutdown"  # relay stopped or pod removed
    CLIENT_GONE = "client_gone"  # the client has closed, the server does not end its direction
    MAX_CONNECTIONS = "max_connections"  # of the service: as many as its DestinationRule allows
    NO_ROUTE = "no_route"  # no tcp or tls route of the service is for this connection
    IDLE_TIMEOUT = "idle_timeout"
    MAX_DURATION = "max_duration"
    NO_HEALTHY = "no_healthy_endpoint"  # all are left out, because connecting to them failed
    DENY_POLICY = "deny_by_policy"  # a DENY policy of the pod that was called matches
    DENY_NOT_ALLOWED = "deny_not_allowed"  # it has ALLOW policies, and none of them matches
    DENY_UNKNOWN = "deny_unknown_workload"  # nobody said what holds for it
    DENY_LATE = "deny_late"  # it was let pass, and what holds now would not

    @property
    def refuses(self) -> bool:
        """Whether policies, or the lack of any, ended it."""
        return self.name.startswith("DENY_")


# By the number that comes in an event. A reason that is not listed above fails here.
_REASONS: Final = tuple(CloseReason(ffi.string(lib.fp_reason_name(n)).decode()) for n in range(lib.FP_REASON_COUNT))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided of a connection to a pod, and by which policies: by their numbers in the table of a generation,
    0 = none of them. A generation of 0: nobody said anything yet."""

    generation: int
    verdict: PolicyVerdict
    policy: int = 0
    would: PolicyVerdict = PolicyVerdict.ALLOW_NO_POLICY  # by those on trial, if there were no others
    would_policy: int = 0
    audited: int = 0  # the first AUDIT policy that matches


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """What is new of a connection since it was reported last. Ports are host order, times are nanoseconds.

    Of one, if the relay was configured with each_event, else the sum over those that differ in client port and time
    only: then client_port and started_ns are those of the first, duration_ns and the bytes are sums. A connection is
    reported when it ended, and while it lives every few seconds that brought something new: then connections is 0,
    reason OK.
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
    earlier_to_server: int = 0  # bytes reported before; only with each_event
    earlier_to_client: int = 0
    opened: int = 1  # how many are reported for the first time
    connections: int = 1  # how many ended
    # It came to the pod, and client is whoever called; None: the pod is the client, as in all that is said above.
    judged: Judgement | None = None
    caller: int = 0  # judged: netns cookie of the socket that called; 0 = it is of no pod of this node that we know


@dataclass(frozen=True, slots=True)
class RelayStats:
    """Sums over all workers. accepted == active + sum(closed) once nothing is in flight."""

    accepted: int = 0
    active: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    events_lost: int = 0  # connections that no event reported, because nobody took events for too long
    socket_bytes: int = 0  # that sockets hold in the kernel, as last seen
    closed: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(_REASONS, 0))  # by CloseReason

    def __add__(self, other: RelayStats) -> RelayStats:
        return RelayStats(
            accepted=self.accepted + other.accepted,
            active=self.active + other.active,
            bytes_to_server=self.bytes_to_server + other.bytes_to_server,
            bytes_to_client=self.bytes_to_client + other.bytes_to_client,
            events_lost=self.events_lost + other.events_lost,
            socket_bytes=self.socket_bytes + other.socket_bytes,
            closed={reason: self.closed[reason] + other.closed[reason] for reason in _REASONS},
        )


def read_stats(message: bytes) -> RelayStats:
    """From struct fp_told_stats. Raises ValueError if the size is another."""
    if len(message) != ffi.sizeof("struct fp_told_stats"):
        raise ValueError(f"statistics of {len(message)} bytes")
    raw = ffi.from_buffer("struct fp_told_stats *", message).stats
    return RelayStats(
        accepted=raw.accepted,
        active=raw.active,
        bytes_to_server=raw.bytes_to_server,
        bytes_to_client=raw.bytes_to_client,
        events_lost=raw.events_lost,
        socket_bytes=raw.socket_bytes,
        closed={reason: raw.closed[i] for i, reason in enumerate(_REASONS)},
    )


def read_events(message: bytes) -> list[FlowEvent]:
    """From struct fp_told_events with its rows. Raises ValueError if the size does not fit."""
    count = ffi.from_buffer("struct fp_head *", message).count
    return [_event(raw) for raw in _iterate(rows("struct fp_event", message, "struct fp_told_events", count), count)]


def _iterate(array: Any, count: int) -> Iterator[Any]:
    for index in range(count):
        yield array[index]


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
        judged=_judgement(raw) if raw.inbound else None,
        caller=raw.caller,
    )


def _judgement(raw: Any) -> Judgement:
    said = raw.decision
    return Judgement(
        generation=raw.policies,
        verdict=PolicyVerdict(said.verdict),
        policy=said.policy,
        would=PolicyVerdict(said.would),
        would_policy=said.would_policy,
        audited=said.audited,
    )
