"""The node's DNS as a process: does what the agent says, and says that it is well as long as it hears from the agent.

One thread, since it enters the pods' network namespaces to open sockets there. It ends with the agent's connection, its
sockets with it, and from then on the kernel leaves questions to the pods' resolvers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tidegate.bpf.resolvers import ResolverTables
from tidegate.dns import protocol
from tidegate.dns.answers import Answers
from tidegate.dns.counts import QuestionCounts
from tidegate.dns.names import NameTable
from tidegate.dns.pod import PodDns
from tidegate.dns.protocol import ControlMessage, Incoming
from tidegate.dns.room import Room, descriptors_for_questions
from tidegate.errors import Fatal
from tidegate.linux.cgroup import cgroup_id, own_cgroup
from tidegate.linux.descriptors import use_all_descriptors
from tidegate.model.names import use_cluster_domain
from tidegate.native import checked, lib
from tidegate.runtime.collector import settle

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
_LEAST_DESCRIPTORS = 64  # its own, and of two pods


class DnsProcess:
    """Everything that it has. Use from one event loop."""

    def __init__(self, control: socket.socket, tables: ResolverTables, cgroup: int) -> None:
        """cgroup: id of its own; its questions to resolvers are left alone by it."""
        self._control = control
        self._tables = tables
        self._cgroup = cgroup
        self._incoming = Incoming()
        self._answers = Answers(NameTable(), random.random)
        self._counts = QuestionCounts()
        self._room = Room(descriptors_for_questions())
        self._pods: dict[int, PodDns] = {}
        self._inside = -1  # the netns in which this thread is, by the descriptor that is open here

    async def run(self) -> None:
        """Until the agent's connection ends."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._control, readable.set)
        sweeping = asyncio.create_task(self._sweep())
        try:
            while True:
                await readable.wait()
                readable.clear()
                with suppress(BlockingIOError):
                    for message in self._incoming.read(self._control):
                        await loop.sock_sendall(self._control, protocol.frame(await self._do(message)))
        except (EOFError, ConnectionError):
            log.info("the agent is gone: questions go to the pods' resolvers")
        finally:
            self._tables.leave(self._cgroup)
            sweeping.cancel()
            loop.remove_reader(self._control)
            for pod in self._pods.values():
                await pod.close()

    async def _do(self, message: ControlMessage) -> ControlMessage:
        """Do what is asked; the answer. What goes wrong is told and is nobody else's business."""
        number, what = message["n"], message["do"]
        try:
            if what == protocol.NAMES:
                self._name(message)
            elif what == protocol.POD:
                await self._add(message, self._incoming.take_fd())
            elif what == protocol.DROP:
                await self._drop(message["cookie"])
            elif what == protocol.KEEP:
                self._tables.keep(frozenset(message["cookies"]))
            self._tables.beat(self._cgroup)  # whatever the agent says, it is there
        except OSError as error:
            return self._said(number, str(error))
        return self._said(number, "")

    def _said(self, number: int, error: str) -> ControlMessage:
        return {"n": number, "error": error, "counts": asdict(self._counts)}

    def _name(self, message: ControlMessage) -> None:
        names = self._answers.names
        if message["whole"]:
            names.clear()
        for host in message["gone"]:
            names.remove(host)
        for raw in message["put"]:
            names.put(protocol.decode_names(raw))
        if len(message["put"]) >= protocol.HOSTS_AT_ONCE:
            settle()  # many came, to stay: each walk of them would hold up questions by 50 ms for 10 000
        self._answers.changed()

    async def _add(self, message: ControlMessage, netns_fd: int) -> None:
        cookie = message["cookie"]
        await self._close(cookie)
        pod = PodDns(
            cookie, message["namespace"], netns_fd, self._answers, self._tables, self._enter, self._counts, self._room
        )
        try:
            await pod.open(v6=message["v6"], port=message["port"])
        except OSError:
            self._inside = -1
            await pod.close()
            raise
        self._pods[cookie] = pod

    async def _drop(self, cookie: int) -> None:
        await self._close(cookie)
        self._tables.forget(cookie)

    async def _close(self, cookie: int) -> None:
        pod = self._pods.pop(cookie, None)
        if pod is not None:
            self._inside = -1  # its descriptor's number may come again
            await pod.close()

    def _enter(self, netns_fd: int) -> None:
        if netns_fd != self._inside:
            checked(lib.tgb_setns(netns_fd), "entering a pod")
            self._inside = netns_fd

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for pod in self._pods.values():
                pod.sweep()


def main(arguments: list[str]) -> None:
    """Serve the agent that listens on a unix socket: PATH-OF-THE-SOCKET DIRECTORY-OF-THE-MAPS CLUSTER-DOMAIN."""
    path, maps, domain = arguments
    use_all_descriptors("the node's DNS", _LEAST_DESCRIPTORS)
    use_cluster_domain(domain)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING", stream=sys.stderr)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.connect(path)
        control.setblocking(False)
        tables = ResolverTables(Path(maps))
        settle()
        try:
            asyncio.run(DnsProcess(control, tables, cgroup_id(own_cgroup())).run())
        finally:
            tables.close()


def exit_code(arguments: list[str]) -> int:
    """main(), and how it went as a program's exit code."""
    try:
        main(arguments)
    except (OSError, Fatal) as error:
        print(f"the node's DNS (pid {os.getpid()}): {error}", file=sys.stderr)
        return 1
    return 0
