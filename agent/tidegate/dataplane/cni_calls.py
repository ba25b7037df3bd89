"""What a CNI call means here: a sandbox comes or goes, and ADD is answered when the data plane knows it."""

from __future__ import annotations

from tidegate.dataplane.cycle import Cycle
from tidegate.enroll.cni_server import CniRequest
from tidegate.enroll.registry import Registry
from tidegate.errors import Transient

ENROL_SECONDS = 20.0


class Enrolment:
    """Handler of enroll.cni_server.CniServer."""

    def __init__(self, registry: Registry, cycle: Cycle, timeout: float = ENROL_SECONDS) -> None:
        self._registry = registry
        self._cycle = cycle
        self._timeout = timeout

    async def add(self, request: CniRequest) -> None:
        """Returns when the pod is enrolled, or is known not to be in the mesh. Raises Transient otherwise."""
        sandbox = self._registry.add(request)
        self._cycle.set_sandboxes(self._registry.all())
        status = await self._cycle.settled(sandbox.id, sandbox.netns_cookie, self._timeout)
        if status is None or status.state not in ("enrolled", "not-enrolled"):
            reason = status.reason if status else "its Pod object has not arrived from the configuration source"
            raise Transient(f"pod {sandbox.id}", f"not enrolled within {self._timeout:.0f} s: {reason}", "try again")

    async def delete(self, request: CniRequest) -> None:
        """Forget the sandbox; one that was never known is fine."""
        if self._registry.delete(request):
            self._cycle.set_sandboxes(self._registry.all())

    async def check(self, request: CniRequest) -> None:
        """Raises Transient unless the sandbox is as ADD left it."""
        sandbox = self._registry.find(request)
        if sandbox is None:
            raise Transient(
                f"pod {request.pod}", "is not known to this node's agent", "delete and add the sandbox again"
            )
        status = await self._cycle.settled(sandbox.id, sandbox.netns_cookie, 1.0)
        if status is None or status.state not in ("enrolled", "not-enrolled"):
            raise Transient(f"pod {sandbox.id}", status.reason if status else "is not enrolled yet", "try again")
