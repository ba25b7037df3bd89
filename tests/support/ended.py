"""The end of a process of somebody else's: when this has returned, it is no more, whatever its parent knows of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from tests.support.eventually import HANG_SECONDS


def kill(pid: int) -> None:
    """SIGKILL, and wait until all its threads are gone and its descriptors are closed."""
    pidfd = os.pidfd_open(pid)
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ready, _, _ = select.select([pidfd], [], [], HANG_SECONDS)
        assert ready, f"process {pid} does not end"
    finally:
        os.close(pidfd)
