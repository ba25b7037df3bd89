"""Which capabilities this process needs, why, and giving up all others.

Must run while the process has one thread: capabilities belong to threads, and later threads inherit those of their
maker. Measured with the tracepoint capability:cap_capable over start, enrolment, restart and stop. CAP_BPF and
CAP_PERFMON are asked for as well, but the kernel takes CAP_SYS_ADMIN for both, which setns() needs in any case.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Fatal
from tidegate.native import checked, ffi, lib


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability by number (linux/capability.h), with the reason to hold it."""

    name: str
    number: int
    why: str


NEEDED: tuple[Capability, ...] = (
    Capability("CAP_DAC_READ_SEARCH", 2, "read configuration, programs and Envoy in other users' directories"),
    Capability("CAP_SETPCAP", 8, "start Envoy and the relay with fewer capabilities than the agent"),
    Capability("CAP_NET_ADMIN", 12, "attach the hooks; put capture addresses on the pods' loopback"),
    Capability("CAP_SYS_ADMIN", 21, "enter the pods' network namespaces; load and look up kernel programs"),
)
GATEWAY: tuple[Capability, ...] = (
    Capability("CAP_SETPCAP", 8, "start Envoy with fewer capabilities than the gateway"),
    Capability("CAP_NET_BIND_SERVICE", 10, "hand Envoy ports below 1024"),
)
_NAMES = {c.number: c.name for c in (*NEEDED, *GATEWAY)}


def permitted() -> int:
    """Mask of the capabilities that this thread may use."""
    mask = ffi.new("uint64_t *")
    checked(lib.tgb_caps_permitted(mask), "capabilities")
    return int(mask[0])


def missing(mask: int) -> list[Capability]:
    """The needed capabilities that a mask of permitted ones lacks."""
    return [c for c in NEEDED if not mask >> c.number & 1]


def require_needed() -> None:
    """Raise Fatal that names a capability which is missing, and what it is needed for."""
    for capability in missing(permitted()):
        raise Fatal(
            capability.name, f"is missing; it is needed to {capability.why}", "add it to the unit or the container"
        )


def keep_needed_only(needed: Sequence[Capability] = NEEDED) -> None:
    """Give up every other capability for good, set no_new_privs, clear dumpable.

    Raises Fatal if threads run already.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise Fatal("capabilities", f"{threads} threads run before they were given up", "report this as a defect")
    checked(lib.tgb_caps_keep(sum(1 << c.number for c in needed)), "capabilities")


def why(name: str, needed: Sequence[Capability] = NEEDED) -> str:
    """What a capability is held for; "not needed" for one that should not be there."""
    return next((c.why for c in needed if c.name == name), "not needed")


def held(pid: int) -> list[str]:
    """Names of the capabilities that any thread of a process may use; none if there is no such process."""
    mask = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue  # the thread has ended
        mask |= next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:"))
    return [_NAMES.get(number, f"capability {number}") for number in range(64) if mask >> number & 1]
