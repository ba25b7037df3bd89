"""Which sandboxes this node has, as a state machine fed by CNI calls. Sans-IO.

Invariants: a pod has one sandbox, a network namespace belongs to one pod. A runtime repeats ADD when it got no answer
and rebuilds a sandbox without always telling about the old one; both are recognised here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tidegate.model.names import WorkloadId
from tidegate.model.workload import Sandbox


@dataclass(frozen=True, slots=True)
class Added:
    """sandbox is what the ledger holds now; replaced are sandboxes that it took the place of."""

    sandbox: Sandbox
    known: bool  # a repeated ADD
    replaced: tuple[Sandbox, ...] = ()


class Ledger:
    """Sandboxes by pod."""

    def __init__(self) -> None:
        self._by_pod: dict[WorkloadId, Sandbox] = {}

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(tuple(self._by_pod.values()))  # a copy: another thread may change it meanwhile

    def add(self, sandbox: Sandbox) -> Added:
        """Record a sandbox. The same one again keeps its capture ports; a pod's new netns replaces its old one."""
        known = self._by_pod.get(sandbox.id)
        if known and (known.container_id, known.netns_cookie) == (sandbox.container_id, sandbox.netns_cookie):
            kept = replace(sandbox, capture=known.capture, v6_capture=known.v6_capture)
            self._by_pod[sandbox.id] = kept
            return Added(kept, known=True)
        replaced = tuple(s for s in self if s.id == sandbox.id or s.netns_cookie == sandbox.netns_cookie)
        for old in replaced:
            del self._by_pod[old.id]
        self._by_pod[sandbox.id] = sandbox
        return Added(sandbox, known=False, replaced=replaced)

    def remove(self, container_id: str) -> Sandbox | None:
        """Forget the sandbox of that container. A DEL that comes after the pod was rebuilt names the old container."""
        found = self.find(container_id)
        if found is not None:
            del self._by_pod[found.id]
        return found

    def find(self, container_id: str) -> Sandbox | None:
        return next((s for s in self if s.container_id == container_id), None)

    def update(self, sandbox: Sandbox) -> bool:
        """Replace what is known of a sandbox; False if it has gone meanwhile."""
        known = self._by_pod.get(sandbox.id)
        if known is None or known.container_id != sandbox.container_id:
            return False
        self._by_pod[sandbox.id] = sandbox
        return True

    def by_cookie(self) -> Mapping[int, Sandbox]:
        return {s.netns_cookie: s for s in self}
