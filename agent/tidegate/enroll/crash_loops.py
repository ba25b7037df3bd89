"""Pods that come again and again, sandbox after sandbox: an endless crash loop as the node's agent sees it.

It costs the node, not its readiness: so it is for people to read. One that goes on as fast as it can would take turns
from others' enrolments, which the node makes one after the other. So who comes again at once, or was never enrolled
when it came before, lets others go first (dataplane/turns.py) from its second sandbox on, and a loop waits between two,
as a kubelet makes a container wait that ends again and again. A container that ends inside a sandbox that lives on is
not seen here, and costs the agent nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.model.names import WorkloadId

WINDOW_SECONDS = 600.0
SANDBOXES = 5  # within the window: a roll-out or a drained node makes fewer of one name
FAST_SANDBOXES = 20  # no back-off of a runtime lets so many pass
# From one to the next, with so many within the window. The last is a kubelet's first back-off, and well within a
# plugin's patience.
APART_SECONDS = ((FAST_SANDBOXES, 10.0), (SANDBOXES, 1.0))
SOON_SECONDS = 10.0  # who comes within these again is nobody's roll-out; slower ones take next to nothing
MOST_PODS, MOST_TIMES = 4096, 100  # of which something is remembered, the newest; and of one of them


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
            f" see why its containers end, or why its runtime gives up; its next ones are enrolled"
            f" {_apart(self.sandboxes):.0f} s apart, and after others"
        )


@dataclass(slots=True)
class _Comings:
    cookie: int = 0  # of the newest sandbox
    again: bool = False  # whether that one came again
    served: bool = False  # whether it was enrolled, or was not to be
    began: float = 0.0  # when the agent began with it
    times: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_TIMES))


class CrashLoops:
    """now: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pods: dict[WorkloadId, _Comings] = {}  # who came last is last

    def came(self, pod: WorkloadId, cookie: int, *, waits: bool = False) -> None:
        """A CNI ADD; one that is repeated for the same sandbox, or adds an interface to it, is no new one. waits: the
        agent does not begin with it yet, and tells again when it does."""
        now, again = self._now(), self.comes_again(pod)
        known = self._pods.pop(pod, None) or _Comings()
        if known.cookie != cookie:
            known.cookie, known.again, known.served = cookie, again, False
            known.times.append(now)
        if not waits:
            known.began = now
        self._pods[pod] = known
        oldest = next(iter(self._pods))
        if len(self._pods) > MOST_PODS or self._pods[oldest].times[-1] < now - WINDOW_SECONDS:
            del self._pods[oldest]

    def served(self, pod: WorkloadId, cookie: int) -> None:
        """The ADD of this sandbox succeeded."""
        known = self._pods.get(pod)
        if known is not None and known.cookie == cookie:
            known.served = True

    def comes_again(self, pod: WorkloadId) -> bool:
        """Whether the next sandbox of a pod comes soon after another one, or after one that was never enrolled."""
        known, now = self._pods.get(pod), self._now()
        if known is None or known.times[-1] < now - WINDOW_SECONDS:
            return False
        return not known.served or known.times[-1] >= now - SOON_SECONDS or self._count(known) >= SANDBOXES

    def came_again(self, pod: WorkloadId) -> bool:
        """Whether the newest sandbox of a pod was such a one."""
        known = self._pods.get(pod)
        return known is not None and known.again

    def patience(self, pod: WorkloadId) -> float:
        """Seconds that the next sandbox of a pod has to wait."""
        known = self._pods.get(pod)
        if known is None:
            return 0.0
        return max(0.0, known.began + _apart(self._count(known)) - self._now())

    def all(self) -> tuple[CrashLoop, ...]:
        """Those that are in one now, the worst first."""
        counted = ((pod, self._count(known)) for pod, known in self._pods.items())
        loops = [CrashLoop(pod, count) for pod, count in counted if count >= SANDBOXES]
        return tuple(sorted(loops, key=lambda loop: (-loop.sandboxes, loop.pod)))

    def _count(self, known: _Comings) -> int:
        since = self._now() - WINDOW_SECONDS
        return sum(time >= since for time in known.times)


def _apart(sandboxes: int) -> float:
    return next((seconds for least, seconds in APART_SECONDS if sandboxes >= least), 0.0)
