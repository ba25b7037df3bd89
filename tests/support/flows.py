"""A real map with the layout of tg_flows, written by the test instead of by the kernel programs."""

from __future__ import annotations

import os
from ipaddress import ip_address
from socket import htons
from typing import Any

from cffi import FFI
from tidegate._relay import ffi as abi
from tidegate._relay import lib

from tidegate.model.net import to_wire
from tidegate.model.tier import Tier

_BPF_MAP_CREATE, _BPF_MAP_UPDATE = 0, 2
_LRU_HASH = 9
_SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]

_ffi: Any = FFI()
_ffi.cdef(
    """
    long syscall(long number, ...);
    struct create { uint32_t map_type, key_size, value_size, max_entries, map_flags; };
    struct update { uint32_t map_fd, pad; uint64_t key, value, flags; };
    """
)
_libc = _ffi.dlopen(None)


def _bpf(command: int, attr: Any, size: int) -> int:
    result = _libc.syscall(_SYS_BPF, _ffi.cast("long", command), attr, _ffi.cast("long", size))
    if result < 0:
        raise OSError(_ffi.errno, os.strerror(_ffi.errno))
    return int(result)


WISH_BITS = {  # fields of struct tg_wishes -> the bit that says that one was set
    "keepalive": lib.TG_WISH_KEEPALIVE,
    "idle_s": lib.TG_WISH_IDLE,
    "interval_s": lib.TG_WISH_INTERVAL,
    "probes": lib.TG_WISH_PROBES,
    "user_timeout_ms": lib.TG_WISH_USER_TIMEOUT,
    "tos": lib.TG_WISH_TOS,
    "hops": lib.TG_WISH_HOPS,
    "max_segment": lib.TG_WISH_SEGMENT,
    "syn_retries": lib.TG_WISH_SYN_RETRIES,
}


class Flows:
    """LRU hashes of struct tg_flow_key -> struct tg_flow, and -> struct tg_wishes."""

    def __init__(self, max_entries: int = 16384) -> None:
        self.fd = _make(abi.sizeof("struct tg_flow"), max_entries)
        self.wishes_fd = _make(abi.sizeof("struct tg_wishes"), max_entries)

    def wish(self, cookie: int, source: tuple[str, int], listener_port: int, **fields: int) -> None:
        """Say that this socket was told so: fields of struct tg_wishes."""
        row = abi.new("struct tg_wishes *", fields)
        row.set = sum(WISH_BITS[name] for name in fields)
        _update(self.wishes_fd, _key(cookie, source, listener_port), row)

    def record(
        self,
        cookie: int,
        source: tuple[str, int],
        listener_port: int,
        dialled: tuple[str, int],
        client: str = "",
        wishes: bool = False,
        service: int = 0,
    ) -> None:
        """Say that the socket at `source` of netns `cookie` dialled `dialled`, bound to `client` if given; wishes: it
        was told something before; service: number of the kernel's row."""
        flow = abi.new("struct tg_flow *", {"dst_port_be": htons(dialled[1]), "tier": Tier.FASTPATH})
        flow.dst.ip = to_wire(ip_address(dialled[0]))
        if client:
            flow.client.ip = to_wire(ip_address(client))
        flow.flags = lib.TG_FLOW_WISHES if wishes else 0
        flow.service = service
        _update(self.fd, _key(cookie, source, listener_port), flow)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.wishes_fd)


def _key(cookie: int, source: tuple[str, int], listener_port: int) -> Any:
    key = abi.new("struct tg_flow_key *", {"netns_cookie": cookie, "src_port_be": htons(source[1])})
    key.src.ip = to_wire(ip_address(source[0]))
    key.listener_port_be = htons(listener_port)
    key.tier = Tier.FASTPATH
    return key


def _make(value_size: int, max_entries: int) -> int:
    attr = _ffi.new("struct create *")
    attr.map_type = _LRU_HASH
    attr.key_size = abi.sizeof("struct tg_flow_key")
    attr.value_size = value_size
    attr.max_entries = max_entries
    return _bpf(_BPF_MAP_CREATE, attr, _ffi.sizeof("struct create"))


def _update(fd: int, key: Any, value: Any) -> None:
    attr = _ffi.new("struct update *")
    attr.map_fd = fd
    attr.key = int(abi.cast("uintptr_t", key))
    attr.value = int(abi.cast("uintptr_t", value))
    _bpf(_BPF_MAP_UPDATE, attr, _ffi.sizeof("struct update"))
