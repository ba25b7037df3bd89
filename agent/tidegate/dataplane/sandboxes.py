"""The sandboxes of this node, and what is open inside those that are in the mesh.

A pod's capture ports are facts that the plan is compiled from, so they are opened before there is one: each pod by a
task of its own, so that one whose namespace does not answer keeps nobody waiting. They are closed likewise, from the
appliers' retire on, after nothing leads to them any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace

from tidegate.dataplane.capture import Inside, SandboxRecords, Seen, remarks
from tidegate.dataplane.devices import NetnsHandle, Relay
from tidegate.dataplane.watching import Watching
from tidegate.errors import TidegateError
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.model.workload import Capture, Sandbox
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0  # of the back-off of one pod


@dataclass(frozen=True, slots=True)
class Membership:
    """Whether a sandbox is to be in the mesh. known: its Pod object has arrived."""

    enrolled: bool
    reason: str
    known: bool
    ports: frozenset[int] = frozenset()  # on which its containers say that they listen


class Sandboxes:
    """Use from one event loop. known, decisions and open are by netns cookie."""

    def __init__(
        self,
        relay: Relay,
        inside: Inside,
        records: SandboxRecords,
        pods: Worker,
        disk: Worker,
        clock: Clock,
        jitter: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """pods: threads that enter namespaces; disk: the one of records. changed is called when something was opened,
        or could not be."""
        self._relay = relay
        self._inside = inside
        self._records = records
        self._pods = pods
        self._disk = disk
        self._clock = clock
        self._changed = changed
        self._retries: Retries[int] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._unclosed: Outcomes = ()  # not told yet
        self._process = 0  # of the relay whose listeners are known
        self._listening: dict[int, tuple[int, int]] = {}  # where that relay listens, as it said
        self._lost: set[int] = set()  # open, but for the relay's listeners, which went with its process
        self._netns: dict[int, NetnsHandle] = {}  # held while something of ours is inside
        self._watching = Watching(pods, inside, clock, jitter, self._saw)
        self.known: dict[int, Sandbox] = {}  # as the runtime told
        self.decisions: dict[int, Membership] = {}
        self.open: dict[int, Sandbox] = {}  # with their ports
        self.failed: dict[int, str] = {}  # why nothing could be opened
        self.remarks: dict[int, tuple[str, ...]] = {}  # what is not as it should be in what is open

    @property
    def busy(self) -> bool:
        """Whether something is being opened, closed or looked at."""
        return bool(self._opening or self._closing) or self._watching.busy

    @property
    def relay_up(self) -> bool:
        """Whether a relay process can be reached."""
        return self._relay.process.value > 0

    def tell(self, sandboxes: Iterable[Sandbox]) -> None:
        """All sandboxes of this node."""
        before, self.known = self.known, {s.netns_cookie: s for s in sandboxes}
        for cookie, said in self.known.items():
            opened = self.open.get(cookie)
            if opened is not None and said is not before.get(cookie):
                self.open[cookie] = replace(said, capture=opened.capture, v6_capture=opened.v6_capture)
        self.failed = {cookie: why for cookie, why in self.failed.items() if cookie in self.known}
        self._retries.keep(self.known)

    def wanted(self, cookie: int) -> bool:
        """Whether the sandbox is here and is to be in the mesh."""
        return cookie in self.known and cookie in self.decisions and self.decisions[cookie].enrolled

    def is_opening(self, sandbox: Sandbox) -> bool:
        """Whether its capture is being opened, for the first time: news follows."""
        return sandbox.netns_cookie in self._opening and sandbox.netns_cookie not in self.open

    def current(self) -> tuple[Sandbox, ...]:
        """All sandboxes, with what is open inside: what a plan is compiled from."""
        return tuple(self.open.get(cookie, sandbox) for cookie, sandbox in self.known.items())

    def netns_fd(self, cookie: int) -> int:
        """The netns of a sandbox that is open, borrowed: good until its capture is closed."""
        return self._netns[cookie].fd

    async def meet_relay(self) -> None:
        """Learn what listeners a relay process has that we did not talk to before: they live on, others are lost."""
        process = self._relay.process.value
        if process in (0, self._process):
            return
        listening = await self._relay.sandboxes()
        self._process, self._listening = process, dict(listening)
        self._retries.keep(())  # what the one before refused, this one may do
        self._lost = {
            cookie
            for cookie, sandbox in self.open.items()
            if listening.get(cookie) != (sandbox.capture.fastpath4, sandbox.capture.fastpath6)
        }
        for cookie in tuple(self._listening):
            if not self.wanted(cookie):
                del self._listening[cookie]
                await self._relay.remove_sandbox(cookie)

    def open_missing(self) -> None:
        """Begin to open what is wanted and is not open, each by itself. Nothing while no relay is there to listen."""
        if self._relay.process.value != self._process or not self._process:
            return
        now = self._clock.monotonic()
        for cookie, sandbox in self.known.items():
            if cookie in self._opening or cookie in self._closing:
                continue
            missing = cookie not in self.open or cookie in self._lost
            if missing and self.wanted(cookie) and not self._retries.waits(cookie, now):
                task = asyncio.create_task(self._open(self.open.get(cookie, sandbox)), name=f"open {sandbox.id}")
                self._opening[cookie] = task

    def close_others(self, captured: Container[int]) -> Outcomes:
        """Begin to close what is not wanted any more in pods that are not captured any more, each by itself: a netns
        that is being taken down answers late. What could not be closed, told once."""
        for cookie in [cookie for cookie in self.open if not self.wanted(cookie) and cookie not in captured]:
            sandbox = self.open.pop(cookie)
            self._closing[cookie] = asyncio.create_task(self._close(sandbox), name=f"close {sandbox.id}")
        unclosed, self._unclosed = self._unclosed, ()
        return unclosed

    def next_due(self) -> float | None:
        """When a pod that could not be opened is tried again."""
        return self._retries.next_due()

    async def stop(self) -> None:
        """Open and close no more; what is open stays."""
        working = (*self._opening.values(), *self._closing.values())
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._watching.close()

    # ------------------------------------------------------------------------------------------------------------
    async def _open(self, sandbox: Sandbox) -> None:
        cookie = sandbox.netns_cookie
        try:
            if cookie not in self._netns:
                self._netns[cookie] = self._records.netns(cookie)
            fd = self._netns[cookie].fd
            if cookie in self._watching:
                seen = await self._pods.do(self._inside.prepare, fd)
            else:
                seen = await self._watching.start(cookie, self._records.netns(cookie))
            opened = await self._open_listeners(sandbox, fd, seen)
            await self._disk.do(self._records.remember, opened)
        except Exception as error:  # whatever it is, it is this pod's alone
            if not isinstance(error, (OSError, KeyError, TidegateError)):
                log.exception("pod %s", sandbox.id)
            log.warning("pod %s: capture listeners: %s", sandbox.id, error)
            self.failed[cookie] = f"capture listeners: {error}"
            self._retries.refused(cookie, self._clock.monotonic())
            if cookie not in self.open and cookie in self._netns:
                self._watching.stop(cookie)
                self._netns.pop(cookie).close()
        else:
            said = self.known.get(cookie, opened)  # meanwhile another interface may have come
            self.open[cookie] = replace(said, capture=opened.capture, v6_capture=opened.v6_capture)
            self.remarks[cookie] = remarks(opened, seen)
            self.failed.pop(cookie, None)
            self._lost.discard(cookie)
            self._retries.forget(cookie)
        finally:
            del self._opening[cookie]
            self._changed()

    async def _open_listeners(self, sandbox: Sandbox, fd: int, seen: Seen) -> Sandbox:
        """Envoy's ports of an earlier life of the agent are kept, since Envoy may have outlived it and still listen
        there; so are the relay's listeners. Those of IPv6 are opened also while it is switched off inside, because a
        relay's listeners are opened together."""
        cookie = sandbox.netns_cookie
        envoy4, envoy6, port = sandbox.capture.envoy4, sandbox.capture.envoy6, 0
        if cookie not in self._listening or not envoy4:
            port = await self._pods.do(self._inside.free_port, fd, seen.has_ipv6, self.decisions[cookie].ports)
        if cookie not in self._listening:
            self._listening[cookie] = await self._relay.add_sandbox(cookie, fd, seen.has_ipv6, port)
        relay4, relay6 = self._listening[cookie]
        if not envoy4:
            envoy4, envoy6 = port, port if seen.has_ipv6 else 0
        capture = Capture(relay4, relay6, envoy4, envoy6)
        return replace(sandbox, capture=capture, v6_capture=seen.v6_capture)

    async def _saw(self, cookie: int, seen: Seen) -> None:
        """Something changed inside of a pod."""
        opened = self.open.get(cookie)
        if opened is None:
            return
        now = replace(opened, v6_capture=seen.v6_capture)
        if now == opened and self.remarks.get(cookie) == remarks(now, seen):
            return
        log.info("pod %s changed inside: IPv6 is %s", now.id, "captured" if now.v6_capture else "not captured")
        self.open[cookie], self.remarks[cookie] = now, remarks(now, seen)
        self._changed()
        if now != opened:
            await self._disk.do(self._records.remember, now)

    async def _close(self, sandbox: Sandbox) -> None:
        cookie, failed = sandbox.netns_cookie, True
        netns = self._netns.pop(cookie)
        self._watching.stop(cookie)
        self.remarks.pop(cookie, None)
        self._listening.pop(cookie, None)
        try:
            await self._relay.remove_sandbox(cookie)
            await self._pods.do(self._inside.restore, netns.fd)
            failed = False
        except Exception as error:  # whatever it is, it is this pod's alone
            if not isinstance(error, (OSError, TidegateError)):
                log.exception("pod %s", sandbox.id)
            why = f"closing its capture listeners: {error}"
            self._unclosed += (Outcome(f"pod {sandbox.id}", State.FAILED, why),)
        finally:
            netns.close()
            del self._closing[cookie]
            if failed or self.wanted(cookie):  # there is something to tell, or to open again
                self._changed()
