"""Pods that come again and again, sandbox after sandbox: an endless crash loop as the node's agent sees it.

It costs the node, not its readiness: so it is for people to read. One that goes on as fast as it can would take turns
from others' enrolments, which the node makes one after the other: it waits between two, as a kubelet makes a container
wait that ends again and again. A container that ends inside a sandbox that lives on is not seen here, and costs the
agent nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.model.names import WorkloadId

WINDOW_SECONDS = 600.0
SANDBOXES = 5  # within the window: a roll-out or a drained node makes fewer of one name
FAST_SANDBOXES = 20  # from which on each waits: no back-off of a runtime lets so many pass
APART_SECONDS = 10.0  # then, from one to the next: a kubelet's first back-off, and well within a plugin's patience
MOST_PODS, MOST_TIMES = 4096, 100  # of which something is remembered, the newest; and of one of them
_WAITS = f"; its next ones are enrolled {APART_SECONDS:.0f} s apart"


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """A pod with so many sandboxes within the window; more than MOST_TIMES count as that."""

    pod: WorkloadId
    sandboxes: int

    @property
    def reason(self) -> str:
        """A phrase for people."""
        return (
            f"its sandbox was made {self.sandboxes} times within {WINDOW_SECONDS / 60:.0f} min and ended again:"
            " see why its containers end, or why its runtime gives up"
            f"{_WAITS if self.sandboxes >= FAST_SANDBOXES else ''}"
        )


@dataclass(slots=True)
class _Comings:
    cookie: int  # of the newest sandbox
    times: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_TIMES))


class CrashLoops:
    """now: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pods: dict[WorkloadId, _Comings] = {}  # who came last is last

    def came(self, pod: WorkloadId, cookie: int) -> None:
        """A CNI ADD; one that is repeated for the same sandbox, or adds an interface to it, is no new one."""
        now = self._now()
        known = self._pods.pop(pod, None) or _Comings(0)
        if known.cookie != cookie:
            known.cookie = cookie
            known.times.append(now)
        self._pods[pod] = known
        oldest = next(iter(self._pods))
        if len(self._pods) > MOST_PODS or self._pods[oldest].times[-1] < now - WINDOW_SECONDS:
            del self._pods[oldest]

    def patience(self, pod: WorkloadId) -> float:
        """Seconds that the next sandbox of a pod has to wait."""
        known, now = self._pods.get(pod), self._now()
        if known is None or sum(time >= now - WINDOW_SECONDS for time in known.times) < FAST_SANDBOXES:
            return 0.0
        return max(0.0, known.times[-1] + APART_SECONDS - now)

    def all(self) -> tuple[CrashLoop, ...]:
        """Those that are in one now, the worst first."""
        since = self._now() - WINDOW_SECONDS
        counted = ((pod, sum(time >= since for time in known.times)) for pod, known in self._pods.items())
        loops = [CrashLoop(pod, count) for pod, count in counted if count >= SANDBOXES]
        return tuple(sorted(loops, key=lambda loop: (-loop.sandboxes, loop.pod)))
