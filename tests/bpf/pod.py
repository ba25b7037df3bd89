"""A pod for tests of the hooks: a network namespace with addresses, a cgroup, and processes inside both.

A socket belongs to the cgroup in which it was created, so whatever a pod's program, the agent or Envoy does with
sockets happens in a process of its own that entered its cgroup and netns first. Sockets come back to the test process
as descriptors: the hooks go on treating them as the pod's, the agent's or Envoy's.
"""

from __future__ import annotations

import array
import errno
import os
import pickle
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from tests.support.eventually import HANG_SECONDS

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.pins import drop_link, names, unpin_all
from tidegate.bpf.records import FlowKey, PodRow
from tidegate.dataplane.capture import IPV6_FREEBIND
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.linux.netns import netns_cookie
from tidegate.model.capture import (
    CAPTURE4_ENVOY,
    CAPTURE4_FASTPATH,
    CAPTURE6_ENVOY,
    CAPTURE6_FASTPATH,
    CAPTURE6_PREFIX,
    capture_address,
    spread_of,
)
from tidegate.model.net import parse_ip
from tidegate.model.tier import Tier
from tidegate.native import checked, ffi, lib

T = TypeVar("T")

OBJECTS = Path(__file__).resolve().parents[2] / "build" / "bpf"
SECONDS = HANG_SECONDS  # nobody waits as long as that for anything
FDS_MAX = 4


class Tree:
    """Cgroups and pins of one simulated node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.node = cgroup2_mount() / name
        self.agent = self.node / "agent"
        self.envoy = self.agent / "envoy"
        self.pods = self.node / "pods"
        self.outside = cgroup2_mount() / f"{name}-outside"  # of the node's tree: no hook runs there
        self.pins = Path("/sys/fs/bpf") / name

    def create(self) -> None:
        for path in (self.node, self.agent, self.envoy, self.pods, self.outside):
            path.mkdir()

    def remove(self) -> None:
        pods = [path for path in self.pods.iterdir() if path.is_dir()]
        for path in (self.envoy, self.agent, *pods, self.pods, self.node, self.outside):
            path.rmdir()

    def open_datapath(self, objects: Path) -> Datapath:
        return Datapath.open(
            bpffs=self.pins, cgroup=self.node, agent_cgroup=self.agent, envoy_cgroup=self.envoy, objects=objects
        )


def remove_pins(root: Path) -> None:
    """Detach whatever is pinned, redirection first, and leave no pin behind."""
    links = names(root / "links")
    for name in [*(n for n in links if "connect" in n), *(n for n in links if "connect" not in n)]:
        drop_link(root / "links" / name)
    for name in names(root / "lookup"):
        drop_link(root / "lookup" / name)
    for directory in [*root.glob("*/"), root]:
        unpin_all(directory)


def pinned_ids(tree: Tree) -> dict[str, set[int]]:
    """Kernel ids of everything that is pinned, and of the programs that the links run."""
    found: dict[str, set[int]] = {"links": set(), "programs": set(), "maps": set()}
    for folder in ("links", "lookup", "maps"):
        for name in names(tree.pins / folder):
            fd = lib.tgb_get(str(tree.pins / folder / name).encode())
            assert fd >= 0
            if folder == "maps":
                info = ffi.new("struct tgb_map *")
                assert lib.tgb_map_info(fd, info) == 0
                found["maps"].add(info.id)
            else:
                link = ffi.new("struct tgb_link *")
                assert lib.tgb_link_info(fd, link) == 0
                found["links"].add(link.id)
                found["programs"].add(link.prog_id)
            os.close(fd)
    return found


@dataclass
class Dialled:
    """How a connect() inside a pod went, as its own process saw it. sock is still open."""

    error: int
    peer: tuple[str, int]
    own: tuple[str, int]
    sock: socket.socket

    @property
    def failed(self) -> str:
        """Name of the errno; empty if the connection is established."""
        return errno.errorcode.get(self.error, "")

    def close(self) -> None:
        self.sock.close()


class Pod:
    def __init__(self, tree: Tree, name: str, number: int) -> None:
        self.tree = tree
        self.cgroup = tree.pods / name
        self.name = name
        self.ip4 = f"10.77.0.{number}"
        self.ip6 = f"fd00:77::{number}"
        self.listeners: dict[tuple[Tier, int], socket.socket] = {}
        self._sockets: list[socket.socket] = []  # closed when the test is over
        self.cgroup.mkdir()
        ip("netns", "add", name)
        self.netns_fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "wire", "up")
        ip("-n", name, "address", "add", f"{self.ip4}/24", "dev", "eth0")
        ip("-n", name, "address", "add", f"{self.ip6}/64", "dev", "eth0", "nodad")
        ip("-n", name, "route", "add", "local", str(CAPTURE6_PREFIX), "dev", "lo", "src", "::1")
        self.cookie = netns_cookie(self.netns_fd)

    def remove(self) -> None:
        for sock in self._sockets:
            sock.close()
        os.close(self.netns_fd)
        ip("netns", "delete", self.name)

    def listen(self) -> None:
        """Open the capture listeners of both tiers and families, each in the cgroup of its process."""
        for tier, cgroup, v4, v6 in (
            (Tier.FASTPATH, self.tree.agent, CAPTURE4_FASTPATH, CAPTURE6_FASTPATH),
            (Tier.ENVOY, self.tree.envoy, CAPTURE4_ENVOY, CAPTURE6_ENVOY),
        ):
            self.listeners[tier, 4] = self.server(str(v4), cgroup=cgroup)
            self.listeners[tier, 6] = self.server(str(v6), cgroup=cgroup)

    def server(self, address: str, port: int = 0, *, cgroup: Path | None = None) -> socket.socket:
        """A listening socket inside the pod; of a program of the pod itself unless cgroup says whose."""
        return self.run(lambda: listen_on(address, port), cgroup)

    def port(self, tier: Tier, version: int = 4) -> int:
        listener = self.listeners.get((tier, version))
        return int(listener.getsockname()[1]) if listener else 0

    def row(self, *, v6_capture: bool = True) -> PodRow:
        return PodRow(
            ip4=ip_address(self.ip4),
            ip6=ip_address(self.ip6),
            fastpath4=self.port(Tier.FASTPATH),
            fastpath6=self.port(Tier.FASTPATH, 6),
            envoy4=self.port(Tier.ENVOY),
            envoy6=self.port(Tier.ENVOY, 6),
            v6_capture=v6_capture,
        )

    def flow_key(self, tier: Tier, version: int, source: tuple[str, int], dialled: tuple[str, int]) -> FlowKey:
        """Of a connection that came from source."""
        spread = spread_of(capture_address(tier, parse_ip(dialled[0]), dialled[1]))
        return FlowKey(self.cookie, ip_address(source[0]), source[1], self.port(tier, version), tier, spread)

    def run(self, fn: Callable[[], T], cgroup: Path | None = None) -> T:
        """Run fn in a process inside the pod's netns and cgroup; see run_in."""
        value = run_in(cgroup or self.cgroup, self.netns_fd, fn)
        if isinstance(value, (Dialled, socket.socket)):
            self._sockets.append(value.sock if isinstance(value, Dialled) else value)
        return value

    def dial(self, address: str, port: int, *, cgroup: Path | None = None, **how: Any) -> Dialled:
        """Connect from inside the pod; `connect` says how."""
        return self.run(lambda: connect(address, port, **how), cgroup)

    def accept(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        """The accepted connection, and the client as accept() told the listener's process.

        Raises AssertionError if nobody comes.
        """
        listener.settimeout(SECONDS)
        try:
            sock, client = listener.accept()
        except TimeoutError:
            raise AssertionError(f"nobody came to {listener.getsockname()[:2]} within {SECONDS:.0f} s") from None
        sock.settimeout(SECONDS)
        self._sockets.append(sock)
        return sock, client[:2]


SERVER, CLIENT = {4: "10.78.0.1", 6: "fd00:78::1"}, {4: "10.78.0.2", 6: "fd00:78::2"}


def join(server: Pod, client: Pod) -> None:
    """A link between two pods, at whose ends they have the addresses SERVER and CLIENT."""
    ip("link", "add", "x0", "netns", server.name, "type", "veth", "peer", "name", "x0", "netns", client.name)
    for one, addresses in ((server, SERVER), (client, CLIENT)):
        ip("-n", one.name, "address", "add", f"{addresses[4]}/24", "dev", "x0")
        ip("-n", one.name, "address", "add", f"{addresses[6]}/64", "dev", "x0", "nodad")
        ip("-n", one.name, "link", "set", "x0", "up")


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


def listen_on(address: str, port: int = 0) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    listener.bind((address, port))
    listener.listen(64)
    return listener


def connect(
    address: str,
    port: int,
    *,
    family: socket.AddressFamily | None = None,
    v6only: bool = False,
    bind: str = "",
    bind_port: int = 0,
    device: str = "",
    protocol: int = 0,
    send_buffer: int = 0,
) -> Dialled:
    """A TCP connect as an ordinary program makes it, and what the program is told about it."""
    version = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock = socket.socket(version, socket.SOCK_STREAM, protocol)
    sock.settimeout(SECONDS)
    if v6only:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if bind or bind_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(bool(bind_port)))
        sock.bind((bind, bind_port))
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if send_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    try:
        sock.connect((address, port))
    except OSError as error:
        return Dialled(error.errno or errno.ETIMEDOUT, ("", 0), ("", 0), sock)
    try:
        peer = sock.getpeername()[:2]
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        peer = ("", 0)  # it was reset meanwhile
    return Dialled(0, peer, sock.getsockname()[:2], sock)


def run_in(cgroup: Path, netns_fd: int, fn: Callable[[], T]) -> T:
    """Fork a process into cgroup and netns, run fn there, return what it returns or raise what it raises.

    A socket, or the one in a Dialled, is handed over as a descriptor; everything else is pickled.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            enter(cgroup, netns_fd)
            _answer(theirs, fn)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        ours.settimeout(2 * SECONDS)
        try:
            payload, control, _, _ = ours.recvmsg(1 << 16, socket.CMSG_SPACE(FDS_MAX * 4))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.waitpid(pid, 0)
    assert payload, "the pod's process died before it could answer"
    fds = array.array("i", b"".join(data for _, _, data in control))
    value = pickle.loads(payload)
    if isinstance(value, BaseException):
        raise value
    sock = socket.socket(fileno=fds[0]) if fds else None
    if isinstance(value, Dialled) and sock is not None:
        value.sock = sock
    return value if value is not None else sock  # type: ignore[return-value]


def enter(cgroup: Path, netns_fd: int) -> None:
    """Move this process, which must be one of its own, into a cgroup and a netns."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    checked(lib.tgb_setns(netns_fd), "netns")


def _answer(to: socket.socket, fn: Callable[[], Any]) -> None:
    try:
        value = fn()
    except Exception as error:
        value = error
    sock = value.sock if isinstance(value, Dialled) else value if isinstance(value, socket.socket) else None
    if isinstance(value, Dialled):
        value = Dialled(value.error, value.peer, value.own, None)  # type: ignore[arg-type]
    if isinstance(value, socket.socket):
        value = None
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))] if sock is not None else []
    to.sendmsg([pickle.dumps(value)], rights)
