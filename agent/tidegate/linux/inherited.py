"""What a process has from whoever started it, and must not keep: it decides what files are made and which signals come.

Anything may start an agent: a shell, an init system, a container runtime, a program that blocks signals in its threads.
"""

from __future__ import annotations

import os
import signal

from tidegate.linux.descriptors import use_all_descriptors

_UMASK = 0o022  # what is private is made so by whoever makes it


def shed_inherited(who: str) -> None:
    """Let every signal through, make files as they are meant to be, use all descriptors that there are. Programs that
    are started later inherit that in their turn. Raises Fatal with too few descriptors."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(_UMASK)
    use_all_descriptors(who)
