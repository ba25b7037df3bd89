"""What a CNI call means here: a sandbox comes or goes, and ADD is answered when the data plane knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence

from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.turns import Turns
from tidegate.enroll.cni_server import CniRequest
from tidegate.enroll.crash_loops import CrashLoops
from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.enroll.wire import NotServing
from tidegate.errors import Transient
from tidegate.model.status import PodStatus
from tidegate.model.workload import Sandbox
from tidegate.runtime.clock import Clock
from tidegate.runtime.worker import Worker

ENROL_SECONDS = 20.0
CHECK_SECONDS = 1.0
SWEEP_SECONDS = 300.0  # between two looks for pods whose runtime never said DEL


class CniCalls:
    """Handler of enroll.cni_server.CniServer. Each call waits for its own pod only, and one of a pod that comes again
    and again for those of all others (dataplane/turns.py)."""

    def __init__(
        self,
        store: SandboxStore,
        disk: Worker,
        names: Worker,
        cycle: Cycle,
        missing: Callable[[], Sequence[str]],
        carrying: Container[str],
        loops: CrashLoops,
        clock: Clock,
        timeout: float = ENROL_SECONDS,
    ) -> None:
        """disk: the one thread on which the store records sandboxes; names: one on which it lets go of namespaces, for
        which nobody else's call waits. missing: tokens of readiness that the node does
        not have; carrying: those without which connections of enrolled pods fail, too."""
        self._store = store
        self._disk = disk
        self._names = names
        self._cycle = cycle
        self._missing = missing
        self._carrying = carrying
        self._loops = loops
        self._clock = clock
        self._timeout = timeout
        self._turns = Turns(clock)
        self._waiting: dict[object, tuple[str, str]] = {}  # ADDs for their turn: container and interface
        self._letting_go: asyncio.Future[None] | None = None  # kept, or it might vanish unfinished

    async def add(self, request: CniRequest) -> None:
        """Returns when the pod is enrolled, or is known not to be in the mesh. Raises Transient otherwise."""
        known = self._store.knows(request.container_id)
        if not (self._store.find(request) if known else self._loops.comes_again(request.pod)):
            with self._turns.first():
                await self._add(request)
            return
        call = object()
        self._waiting[call] = (request.container_id, request.ifname)
        try:
            await self._add_after_others(request, call, known)
        finally:
            self._waiting.pop(call, None)

    async def _add_after_others(self, request: CniRequest, call: object, known: bool) -> None:
        cookie, there = await self._names.do(self._store.look, request)
        if not known:
            patience = self._loops.patience(request.pod)
            self._loops.came(request.pod, cookie, waits=True)
            if patience:
                await self._clock.sleep(patience)
        async with self._turns.last():
            still_there = not there or (await self._names.do(self._store.look, request))[1]
            if not still_there or call not in self._waiting:
                raise Transient(
                    f"pod {request.pod}",
                    f"its namespace {request.netns_path} went before it was its turn: it comes again and again",
                    "see `tidegate status` on this node",
                )
            await self._add(request)

    async def _add(self, request: CniRequest) -> None:
        sandbox = await self._disk.do(self._store.add, request)
        self._loops.came(sandbox.id, sandbox.netns_cookie)
        self._cycle.set_sandboxes(self._store.all())
        status = await self._cycle.settling.settled(sandbox.netns_cookie, self._timeout)
        if (
            self._store.has_unused
        ):  # of a sandbox whose place this one took, or of one that is going: not for us to wait
            self._letting_go = asyncio.ensure_future(self._names.do(self._store.let_go))
        if not _settled(status):
            reason = status.reason if status else "its Pod object has not arrived from the configuration source"
            raise Transient(f"pod {sandbox.id}", f"not enrolled within {self._timeout:.0f} s: {reason}", "try again")
        self._loops.served(sandbox.id, sandbox.netns_cookie)

    async def take_up(self, request: CniRequest) -> None:
        """A pod that was found running, as if it had been added; returns when the data plane was told of it. Raises
        Transient if it cannot be recorded, Rejected if it is none."""
        if await self._disk.do(self._store.take_up, request) is not None:
            self._cycle.set_sandboxes(self._store.all())

    async def delete(self, request: CniRequest) -> None:
        """Forget an interface, and with the last one the sandbox: then nothing of it is captured when this returns. One
        that was never known is fine."""
        given_up = (request.container_id, request.ifname)
        self._waiting = {call: what for call, what in self._waiting.items() if what != given_up}
        if not self._loops.came_again(request.pod):
            await self._delete(request)
            return
        async with self._turns.last():
            await self._delete(request)

    async def _delete(self, request: CniRequest) -> None:
        gone = await self._disk.do(self._store.delete, request)
        await self._release((gone,) if gone else ())

    async def collect(self, request: CniRequest) -> None:
        """What is attached to the request's network and not among its valid attachments goes, as by DEL."""
        await self._release(await self._disk.do(self._store.collect, request))

    async def check(self, request: CniRequest) -> None:
        """Raises Transient unless the attachment is as ADD left it."""
        sandbox = self._store.find(request)
        if sandbox is None:
            raise Transient(
                f"pod {request.pod}",
                f"its interface {request.ifname} is not known to this node's agent",
                "delete and add the sandbox again",
            )
        status = await self._cycle.settling.settled(sandbox.netns_cookie, CHECK_SECONDS)
        if not _settled(status):
            raise Transient(f"pod {sandbox.id}", status.reason if status else "is not enrolled yet", "try again")

    async def status(self, request: CniRequest) -> None:
        """Raises NotServing with the tokens of readiness that the node does not have."""
        missing = self._missing()
        if missing:
            raise NotServing(
                "the tidegate agent of this node cannot enrol pods now",
                f"not ready: {', '.join(missing)}",
                "see `tidegate status` on this node",
                limited=any(token in self._carrying for token in missing),
            )

    async def sweep(self) -> None:
        """Until cancelled: let go of pods whose runtime has removed their namespace and never said so. Our descriptor
        would keep it, and all that is in it, as long as the agent runs."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            await self.sweep_once()

    async def sweep_once(self) -> None:
        """One such look."""
        gone = await self._disk.do(self._store.sweep)
        if gone:
            await self._release(gone)

    async def _release(self, gone: Sequence[Sandbox]) -> None:
        for sandbox in gone:
            await self._cycle.release(self._store.all(), sandbox.netns_cookie)
        if not gone:
            self._cycle.set_sandboxes(self._store.all())
        if self._store.has_unused:
            await self._names.do(self._store.let_go)


def _settled(status: PodStatus | None) -> bool:
    return status is not None and status.state.settled
