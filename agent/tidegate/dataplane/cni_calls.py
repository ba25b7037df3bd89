"""What a CNI call means here: a sandbox comes or goes, and ADD is answered when the data plane knows it."""

from __future__ import annotations

from tidegate.dataplane.cycle import Cycle
from tidegate.enroll.cni_server import CniRequest
from tidegate.enroll.registry import Registry
from tidegate.errors import Transient
from tidegate.model.status import PodStatus
from tidegate.runtime.worker import Worker

ENROL_SECONDS = 20.0
CHECK_SECONDS = 1.0


class CniCalls:
    """Handler of enroll.cni_server.CniServer. Each call waits for its own pod only."""

    def __init__(self, registry: Registry, disk: Worker, cycle: Cycle, timeout: float = ENROL_SECONDS) -> None:
        """disk: the one thread on which the registry records sandboxes."""
        self._registry = registry
        self._disk = disk
        self._cycle = cycle
        self._timeout = timeout

    async def add(self, request: CniRequest) -> None:
        """Returns when the pod is enrolled, or is known not to be in the mesh. Raises Transient otherwise."""
        sandbox = await self._disk.do(self._registry.add, request)
        self._cycle.set_sandboxes(self._registry.all())
        status = await self._cycle.settling.settled(sandbox.netns_cookie, self._timeout)
        if not _settled(status):
            reason = status.reason if status else "its Pod object has not arrived from the configuration source"
            raise Transient(f"pod {sandbox.id}", f"not enrolled within {self._timeout:.0f} s: {reason}", "try again")

    async def delete(self, request: CniRequest) -> None:
        """Forget the sandbox and stop capturing in it, now; one that was never known is fine."""
        sandbox = self._registry.find(request)
        await self._disk.do(self._registry.delete, request)
        if sandbox is not None:
            await self._cycle.release(self._registry.all(), sandbox.netns_cookie)

    async def check(self, request: CniRequest) -> None:
        """Raises Transient unless the sandbox is as ADD left it."""
        sandbox = self._registry.find(request)
        if sandbox is None:
            raise Transient(
                f"pod {request.pod}", "is not known to this node's agent", "delete and add the sandbox again"
            )
        status = await self._cycle.settling.settled(sandbox.netns_cookie, CHECK_SECONDS)
        if not _settled(status):
            raise Transient(f"pod {sandbox.id}", status.reason if status else "is not enrolled yet", "try again")


def _settled(status: PodStatus | None) -> bool:
    return status is not None and status.state.settled
