"""The tables of DNS capture: which resolver a slot stands for, where the node's DNS listens, and that it is well.

The node's DNS has them open by itself (it is a process of its own), as does whoever looks. Methods raise OSError.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from tidegate.bpf import walk
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import L4Protocol
from tidegate.native import address_of, checked, ffi, lib

NAMES = ("tg_dns", "tg_resolvers", "tg_dns_sockets")
SLOTS: int = lib.TG_DNS_SLOTS
PORT: int = lib.TG_DNS_PORT
STALE_SECONDS: float = lib.TG_DNS_STALE_MS / 1000


class ResolverTables:
    """Open descriptors of the three maps. One instance, one thread at a time."""

    def __init__(self, maps: Path) -> None:
        """Open the pins in directory maps."""
        self._fds: dict[str, int] = {}
        try:
            for name in NAMES:
                self._fds[name] = checked(lib.tgb_get(str(maps / name).encode()), str(maps / name))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptors; the maps live on in their pins."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def beat(self, cgroup: int) -> None:
        """Say that the node's DNS is well now. cgroup: id of the one whose own questions are left alone."""
        self._tell(time.monotonic_ns(), cgroup)

    def leave(self, cgroup: int) -> None:
        """Say that it is not, from now on: questions go to the pods' resolvers."""
        self._tell(0, cgroup)

    def listens(self, cookie: int, protocol: L4Protocol, v6: bool, fd: int) -> None:
        """Have questions of a pod come to this socket (listening, or bound for UDP) until it is closed."""
        key = ffi.new("struct tg_dns_socket_key *", {"netns_cookie": cookie, "protocol": protocol, "v6": v6})
        checked(lib.tgb_map_set(self._fds["tg_dns_sockets"], key, ffi.new("uint64_t *", fd)), "tg_dns_sockets")

    def resolver(self, cookie: int, slot: int, v6: bool) -> IPAddress | None:
        """Whom a slot stands for, for as long as the pod is captured; None: nobody yet."""
        row = ffi.new("struct tg_resolver *")
        result = lib.tgb_map_get(self._fds["tg_resolvers"], _key(cookie, slot, v6), row)
        if result == -errno.ENOENT:
            return None
        checked(result, "tg_resolvers")
        return address_of(row.addr)

    def keep(self, cookies: Container[int]) -> None:
        """Remove the slots of all other pods. Walks the table."""
        fd = self._fds["tg_resolvers"]
        keys, _, count = walk.rows(
            fd, "tg_resolvers", "struct tg_resolver_key", "struct tg_resolver", lib.TG_MAX_RESOLVERS
        )
        for cookie in {keys[i].netns_cookie for i in range(count)}:
            if cookie not in cookies:
                self.forget(cookie)

    def forget(self, cookie: int) -> None:
        """Remove the slots of a pod that is captured no more; none is fine."""
        for v6 in (False, True):
            for slot in range(SLOTS):
                result = lib.tgb_map_delete(self._fds["tg_resolvers"], _key(cookie, slot, v6))
                if result != -errno.ENOENT:
                    checked(result, "tg_resolvers")

    def _tell(self, beat_ns: int, cgroup: int) -> None:
        row = ffi.new("struct tg_dns *", {"beat_ns": beat_ns, "cgroup": cgroup})
        checked(lib.tgb_map_set(self._fds["tg_dns"], ffi.new("uint32_t *", 0), row), "tg_dns")


def _key(cookie: int, slot: int, v6: bool) -> Any:
    return ffi.new("struct tg_resolver_key *", {"netns_cookie": cookie, "slot": slot, "v6": v6})
