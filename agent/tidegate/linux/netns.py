"""Network namespaces: whose cookie is whose, running a function inside one, and owning one by descriptor.

A path is no identity: runtimes remove a namespace's name and may give it to the next one. So a namespace is opened once
and from then on meant by its descriptor; where a path is wanted all the same (Envoy), it is one of ours (NetnsNames).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from tidegate.native import checked, lib

T = TypeVar("T")

SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14
MOUNTS_MAX = 16  # on one name; a crash between two steps leaves one more at most


def in_netns(fd: int, fn: Callable[[], T]) -> T:
    """Run fn on a thread of its own that has entered the netns of descriptor fd; returns or raises what fn does.

    The thread ends afterwards, so nothing of the process stays in there but what fn opened. OSError if fd is no netns.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            checked(lib.tgb_setns(fd), f"netns descriptor {fd}")
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="in-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def current_cookie() -> int:
    """Cookie of the calling thread's netns: unique since boot, what every kernel table knows a pod by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def netns_cookie(fd: int) -> int:
    """Cookie of the netns of descriptor fd. OSError if fd is no netns."""
    return in_netns(fd, current_cookie)


class Netns:
    """A network namespace by a descriptor of ours, which keeps it alive until close().

    Whoever uses fd on another thread works on a dup() of its own, made before: a number that somebody else closes may
    mean another file by the time it is used.
    """

    def __init__(self, fd: int, cookie: int, path: Path, leave: Callable[[Path], None] | None = None) -> None:
        """Takes ownership of fd. path: what else may be opened for this namespace; leave(path) is called by close()."""
        self._fd = fd
        self._leave = leave
        self.cookie = cookie
        self.path = path

    @property
    def fd(self) -> int:
        """Raises OSError (EBADF) once closed."""
        if self._fd < 0:
            raise OSError(errno.EBADF, "the network namespace was given up", str(self.path))
        return self._fd

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode, which no other namespace has while this one lives."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def dup(self) -> Self:
        """The same namespace by a descriptor of its own; closing it leaves path alone."""
        return type(self)(os.dup(self.fd), self.cookie, self.path)

    def close(self) -> None:
        """Give up descriptor and path. Twice is once. Raises OSError if the path cannot be removed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            if self._leave is not None:
                self._leave(self.path)

    def detach(self) -> None:
        """Give up the descriptor and leave the path for the next life of the agent."""
        self._leave = None
        self.close()


def bind_name(fd: int, path: Path) -> None:
    """Mount the namespace of descriptor fd on a file. Raises OSError."""
    checked(lib.tgb_bind_netns(fd, str(path).encode()), str(path))


def unbind_name(path: Path) -> None:
    """Take away what is mounted on a file; nothing is fine. Who has it open keeps it. Raises OSError."""
    for _ in range(MOUNTS_MAX):
        result = lib.tgb_unmount(str(path).encode())
        if result in (-errno.EINVAL, -errno.ENOENT):
            return
        checked(result, str(path))


@dataclass(frozen=True, slots=True)
class Mounting:
    """The system calls of NetnsNames; tests give others."""

    cookie_of: Callable[[int], int] = netns_cookie
    bind: Callable[[int, Path], None] = bind_name
    unbind: Callable[[Path], None] = unbind_name
    own: Callable[[], int] = current_cookie


class NetnsNames:
    """Paths that mean one namespace for ever: DIRECTORY/COOKIE, on which the namespace itself is mounted.

    A cookie is never used again until the machine starts anew, and then nothing is mounted here: the file opens, but
    nobody can enter it. docs/decisions/0004-envoy-opens-namespaces-by-names-of-ours.md says why it is a mount.
    """

    def __init__(self, directory: Path, mounting: Mounting | None = None) -> None:
        self._directory = directory
        self._mounting = mounting or Mounting()

    def keep(self, fd: int, cookie: int, told: str = "") -> Netns:
        """Own the namespace of a borrowed descriptor, which has this cookie, and a name for it. An earlier agent's name
        is taken over. told: the path by which its runtime calls it.

        Raises OSError if nothing may be mounted here.
        """
        netns = Netns(os.dup(fd), cookie, self._directory / str(cookie), self._remove)
        try:
            if not self._names(netns):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._name(netns, told)
        except BaseException:
            netns.close()
            raise
        return netns

    def reopen(self, path: str, cookie: int) -> Netns:
        """Own the namespace at a path of somebody else's, opened once. Raises OSError; ESTALE: by now it is another."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._mounting.cookie_of(fd) != cookie:
                raise OSError(errno.ESTALE, "is another network namespace by now", path)
            return self.keep(fd, cookie, path)
        finally:
            os.close(fd)

    def cookie_of(self, fd: int) -> int:
        """Cookie of a borrowed descriptor's namespace. OSError if it is none."""
        return self._mounting.cookie_of(fd)

    def cookie_if_any(self, fd: int) -> int:
        """The same; 0 if it is none, as a path is whose namespace went."""
        try:
            return self._mounting.cookie_of(fd) if fd >= 0 else 0
        except OSError:
            return 0

    def own_cookie(self) -> int:
        """Cookie of the namespace that the agent is in itself, and so the node's."""
        return self._mounting.own()

    def sweep(self, keep: Container[int]) -> None:
        """Remove every name whose cookie is not in keep: of sandboxes that went while no agent ran. Raises OSError."""
        if not self._directory.is_dir():
            return
        for path in self._directory.iterdir():
            if not (path.name.isdecimal() and int(path.name) in keep):
                self._remove(path)

    def remove(self) -> None:
        """Remove every name and the directory: after the last agent of this node. Raises OSError."""
        self.sweep(())
        if self._directory.is_dir():
            self._directory.rmdir()

    def _name(self, netns: Netns, told: str) -> None:
        self._mounting.unbind(netns.path)
        netns.path.touch(mode=0o600)
        self._mounting.bind(netns.fd, netns.path)

    def _names(self, netns: Netns) -> bool:
        try:
            status = os.stat(netns.path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == netns.identity

    def _remove(self, path: Path) -> None:
        self._mounting.unbind(path)
        # Also what other mount namespaces have there: a container that was started meanwhile began with copies of all
        # mounts, and its copy would keep the network namespace alive.
        path.unlink(missing_ok=True)


class NetnsLinks(NetnsNames):
    """The same by symbolic links to the runtime's own names, for an agent in a container: what it mounts, an Envoy that
    the agent before has started in another container does not see.

    Only where a runtime gives no name twice (containerd and CRI-O, whose names are random). A link to what is gone is
    an error for who opens it.
    """

    def _name(self, netns: Netns, told: str) -> None:
        new = netns.path.with_name(f".{netns.path.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(told)
        new.replace(netns.path)
        if not self._names(netns):
            raise OSError(errno.ESTALE, "is another network namespace by now", told)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
