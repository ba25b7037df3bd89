"""Network namespaces of pods that run already, found by the addresses in them.

A pod that was attached while our plugin was not in the chain (before the first agent of the node, or in the moment in
which a primary CNI had written its configuration anew) is told by no runtime. Runtimes that attach by CNI give each
sandbox's namespace a name in one directory, and a cluster says which addresses a pod has; so nobody else is asked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

from tidegate.enroll.wire import CniRequest, Command
from tidegate.linux import netlink
from tidegate.linux.netns import current_cookie, in_netns
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.workload import FOUND

Look = Callable[[int], tuple[int, frozenset[IPAddress]]]  # descriptor -> cookie, addresses; OSError if it is no netns


@dataclass(frozen=True, slots=True)
class RunningNetns:
    """A network namespace that somebody gave a name, open until close(). addresses: of interfaces other than lo."""

    path: Path
    fd: int
    cookie: int
    addresses: frozenset[IPAddress]

    def close(self) -> None:
        """Once."""
        os.close(self.fd)

    def as_added(self, pod: WorkloadId, ips: tuple[IPAddress, ...]) -> CniRequest:
        """What a CNI ADD would have said of it, as far as anybody can know; the descriptor is lent."""
        cookie, version = f"{FOUND}{self.cookie}", ""
        return CniRequest(Command.ADD, cookie, str(self.path), self.fd, "", pod, True, ips, version)


def look_inside(fd: int) -> tuple[int, frozenset[IPAddress]]:
    """Cookie and addresses of a namespace. OSError if the descriptor is none."""
    return in_netns(fd, lambda: (current_cookie(), netlink.addresses()))


def having(
    directory: Path, wanted: Container[IPAddress], but: Callable[[int], bool], look: Look = look_inside
) -> list[RunningNetns]:
    """Namespaces with a name in the directory that have one of these addresses, each once, but for those of which
    `but` says so by their cookies; the caller closes them. Blocks. Raises OSError if the directory cannot be read."""
    found: dict[int, RunningNetns] = {}
    for path in sorted(directory.iterdir()):
        with contextlib.ExitStack() as undo:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                undo.callback(os.close, fd)
                cookie, addresses = look(fd)
            except OSError:  # gone meanwhile, or no namespace: the runtime makes the file first and mounts then
                continue
            if not but(cookie) and cookie not in found and any(address in wanted for address in addresses):
                undo.pop_all()
                found[cookie] = RunningNetns(path, fd, cookie, addresses)
    return list(found.values())
