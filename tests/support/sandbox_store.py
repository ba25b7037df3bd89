"""A store of sandboxes over files in the place of network namespaces, and what a runtime asks it for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.enroll.wire import CniRequest, Command
from tidegate.linux.netns import Mounting, NetnsNames
from tidegate.model.names import WorkloadId


class Namespaces:
    """Files in the place of network namespaces: a file's inode is its cookie, until it is made anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made = -1
        self.cookies: dict[tuple[int, int], int] = {}
        self.nodes_own = self.make("the node's own")

    def make(self, name: str) -> Path:
        path = self.directory / name
        path.unlink(missing_ok=True)
        path.touch()
        self.made += 1
        self.cookies[self._id(os.stat(path))] = self.made
        return path

    def cookie_of(self, fd: int) -> int:
        return self.cookies[self._id(os.fstat(fd))]

    def names(self, directory: Path) -> NetnsNames:
        """A hard link in the place of a mount: it is the same file as what it stands for, too."""
        nothing: Callable[[Path], None] = lambda _: None  # noqa: E731
        return NetnsNames(directory, Mounting(self.cookie_of, self.bind, nothing, lambda: 0))

    def bind(self, fd: int, path: Path) -> None:
        path.unlink()
        os.link(os.readlink(f"/proc/self/fd/{fd}"), path)

    @staticmethod
    def _id(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino


def request(netns: Path, pod: str = "web", container: str = "c1", ifname: str = "eth0") -> CniRequest:
    fd = os.open(netns, os.O_RDONLY)
    ips = (ip_address("10.0.0.2"), ip_address("fd00::2")) if ifname == "eth0" else (ip_address("192.168.0.2"),)
    name = WorkloadId("default", pod)
    return CniRequest(Command.ADD, container, str(netns), fd, ifname, name, False, ips, "1.0.0", f"net-of-{ifname}")


def collection(network: str, *valid: tuple[str, str], says: bool = True) -> CniRequest:
    """A GC of a network."""
    listed = frozenset(valid) if says else None
    return CniRequest(Command.GC, "", "", -1, "", WorkloadId("", ""), False, (), "1.1.0", network, listed)


def store(tmp_path: Path, namespaces: Namespaces) -> SandboxStore:
    return SandboxStore(tmp_path / "sandboxes", namespaces.names(tmp_path / "names"))


def cookie_by(one: SandboxStore, cookie: int) -> int:
    """What the store has for this cookie."""
    with contextlib.closing(one.netns(cookie)) as netns:
        return netns.cookie


def records(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "sandboxes").iterdir())


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "names").iterdir())
