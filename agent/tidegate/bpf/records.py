"""Rows of the kernel tables as frozen Python values. Ports are in host order here, in network order in the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from socket import htons, ntohs
from typing import Any

from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import ANYWHERE, DestinationKey, GuardRow, InboundPort, L4Protocol
from tidegate.model.tier import Tier
from tidegate.native import address_of, ffi, lib, put_address

__all__ = ["DestinationKey", "FlowGroup", "FlowKey", "FlowRow", "PodRow"]


@dataclass(frozen=True, slots=True)
class PodRow:
    """A row of tg_pods: where an enrolled pod's connections go, and its own addresses. Port 0 = no such listener."""

    ip4: IPAddress | None = None
    ip6: IPAddress | None = None
    fastpath4: int = 0
    fastpath6: int = 0
    envoy4: int = 0
    envoy6: int = 0
    v6_capture: bool = False  # the v6 capture prefix is routed to the pod's lo
    registry_only: bool = False  # destinations without a row are refused
    scope: int = 0  # of its rows in tg_dests


@dataclass(frozen=True, slots=True)
class FlowKey:
    """A captured connection as its listener sees it."""

    netns_cookie: int
    source: IPAddress
    source_port: int
    listener_port: int
    tier: Tier
    spread: int = 0  # model.capture.spread_of() the capture address; 0 = the listener's own


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A row of tg_flows: what the client dialled and who it is."""

    destination: IPAddress
    port: int
    client: IPAddress | None
    tier: Tier
    service: int


@dataclass(frozen=True, slots=True)
class FlowGroup:
    """What the rows of tg_flows are counted by: the client's netns, the tier and the service that was dialled."""

    netns_cookie: int
    tier: Tier
    service: int  # number of the service (Plan.services)


def pod_key(cookie: int) -> Any:
    return ffi.new("struct tg_pod_key *", {"netns_cookie": cookie})


def encode_pod(row: PodRow) -> Any:
    out = ffi.new("struct tg_pod *")
    put_address(out.ip4, row.ip4)
    put_address(out.ip6, row.ip6)
    out.fastpath4_be = htons(row.fastpath4)
    out.fastpath6_be = htons(row.fastpath6)
    out.envoy4_be = htons(row.envoy4)
    out.envoy6_be = htons(row.envoy6)
    out.flags = (lib.TG_POD_V6_CAPTURE if row.v6_capture else 0) | (
        lib.TG_POD_REGISTRY_ONLY if row.registry_only else 0
    )
    out.scope = row.scope
    return out


def decode_pod(raw: Any) -> PodRow:
    return PodRow(
        ip4=address_of(raw.ip4),
        ip6=address_of(raw.ip6),
        fastpath4=ntohs(raw.fastpath4_be),
        fastpath6=ntohs(raw.fastpath6_be),
        envoy4=ntohs(raw.envoy4_be),
        envoy6=ntohs(raw.envoy6_be),
        v6_capture=bool(raw.flags & lib.TG_POD_V6_CAPTURE),
        registry_only=bool(raw.flags & lib.TG_POD_REGISTRY_ONLY),
        scope=raw.scope,
    )


def put_destination_key(raw: Any, key: DestinationKey) -> None:
    put_address(raw.addr, key.address)
    raw.port_be = htons(key.port)
    raw.protocol = key.protocol
    raw.scope = key.scope


def decode_destination_key(raw: Any) -> DestinationKey:
    address = address_of(raw.addr) or ANYWHERE
    return DestinationKey(address, ntohs(raw.port_be), L4Protocol(raw.protocol), raw.scope)


def put_inbound_key(raw: Any, key: InboundPort) -> None:
    raw.netns_cookie = key.netns_cookie
    raw.port_be = htons(key.port)
    raw.v6 = key.version == 6


def decode_inbound_key(raw: Any) -> InboundPort:
    return InboundPort(raw.netns_cookie, ntohs(raw.port_be), 6 if raw.v6 else 4)


def put_guard_key(raw: Any, row: GuardRow) -> None:
    """Of a row of tg_guards."""
    raw.netns_cookie = row.netns_cookie
    raw.port_be = htons(row.port)


def put_guarded_key(raw: Any, row: GuardRow) -> None:
    """Of a row of tg_guarded."""
    put_address(raw.addr, row.address)


def put_range_key(raw: Any, key: DestinationKey) -> None:
    """The same of a row of tg_ranges."""
    raw.bits = lib.TG_RANGE_BITS + key.bits
    put_address(raw.addr, None if key.bits == 0 else key.address)
    raw.port_be = htons(key.port)
    raw.protocol = key.protocol
    raw.scope = key.scope


def decode_range_key(raw: Any) -> DestinationKey:
    address = address_of(raw.addr) or ANYWHERE
    bits = raw.bits - lib.TG_RANGE_BITS
    return DestinationKey(address, ntohs(raw.port_be), L4Protocol(raw.protocol), raw.scope, bits)


def flow_key(key: FlowKey) -> Any:
    out = ffi.new("struct tg_flow_key *")
    out.netns_cookie = key.netns_cookie
    put_address(out.src, key.source)
    out.src_port_be = htons(key.source_port)
    out.listener_port_be = htons(key.listener_port)
    out.tier = key.tier | key.spread << 8
    return out


def decode_flow(raw: Any) -> FlowRow:
    destination = address_of(raw.dst)
    assert destination is not None  # the connect hook always fills it
    return FlowRow(destination, ntohs(raw.dst_port_be), address_of(raw.client), Tier(raw.tier), raw.service)
