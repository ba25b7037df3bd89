"""Steady new connections of a pod while something is done to the hooks, and the listeners' end of them."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import selectors
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

from tests.bpf.pod import Pod, connect, enter
from tests.support.eventually import eventually

from tidegate.bpf.datapath import Datapath
from tidegate.model.tier import Tier

SO_ORIGINAL_DST = 80
_WRONG_PEER = "wrong peer"
_FAILURES = [*errno.errorcode.values(), _WRONG_PEER]


class Load:
    """Connections of one pod to the destinations of both tiers, one after the other. Nothing else in the pod answers:
    what is not captured fails."""

    def __init__(self, pod: Pod, datapath: Datapath, destinations: dict[Tier, tuple[str, int]]) -> None:
        self._pod = pod
        self._datapath = datapath
        self._destinations = destinations
        # Shared with the pod's process: connections tried, then failures by _FAILURES.
        self._counts: memoryview = memoryview(mmap.mmap(-1, 4096)).cast("Q")
        self._pid = 0
        self.seen_by_listeners: Counter[str] = Counter()

    @property
    def made(self) -> int:
        """Connections that were tried so far."""
        return int(self._counts[0])

    def more(self, count: int = 10) -> None:
        """Wait until so many more were tried."""
        goal = self.made + count
        eventually(lambda: self.made >= goal, f"{count} more connections")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._pid = os.fork()
        if self._pid == 0:
            try:
                enter(self._pod.cgroup, self._pod.netns_fd)
                self._connect()
            finally:
                os._exit(0)
        quit_ = threading.Event()
        acceptor = threading.Thread(target=self._accept, args=(quit_,))
        acceptor.start()
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)
            quit_.set()
            acceptor.join()

    def failures(self) -> dict[str, int]:
        """How often the pod saw what, other than a connection to what it dialled."""
        counts = {name: int(self._counts[1 + i]) for i, name in enumerate(_FAILURES)}
        return {name: count for name, count in counts.items() if count}

    def _connect(self) -> None:
        going = True

        def stop(_number: int, _frame: object) -> None:
            nonlocal going
            going = False

        signal.signal(signal.SIGTERM, stop)
        while going:
            for address, port in self._destinations.values():
                client = connect(address, port)
                if client.error or client.peer != (address, port):
                    self._counts[1 + _FAILURES.index(client.failed or _WRONG_PEER)] += 1
                client.close()
                self._counts[0] += 1

    def _accept(self, quit_: threading.Event) -> None:
        """As relay and Envoy do: ask what was dialled, by the record and by SO_ORIGINAL_DST."""
        with selectors.DefaultSelector() as selector:
            for tier in self._destinations:
                listener = self._pod.listeners[tier, 4]
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ, tier)
            while not quit_.is_set():
                for key, _ in selector.select(0.05):
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        server, client = key.fileobj.accept()  # type: ignore[union-attr]
                        with server:
                            self.seen_by_listeners[self._dialled(server, client, key.data)] += 1

    def _dialled(self, server: socket.socket, client: tuple[str, int], tier: Tier) -> str:
        wanted = self._destinations[tier]
        if tier is Tier.ENVOY:
            raw = server.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            dialled = socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")
            return "right" if dialled == wanted else "wrong original destination"
        record = self._datapath.flow(self._pod.flow_key(tier, 4, client, wanted))
        right = record is not None and (record.destination, record.port) == (ip_address(wanted[0]), wanted[1])
        return "right" if right else "no record"
