"""Python's cycle collector beside a large heap of values that live long and hold no cycles.

It walks everything that is alive whenever a quarter more has come: 0.1 to 0.5 s for 10 000 services, in which the event
loop stands still.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses: list[object] = []  # those that go on


@contextmanager
def paused() -> Iterator[None]:
    """No collection while many values are made. May be nested and used by several threads."""
    pause = object()
    with _lock:
        _pauses.append(pause)
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _pauses.remove(pause)
            if not _pauses:
                gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Modules and their classes are made and will stay: walking them again and again is a tenth of an agent's start."""
    with paused():
        yield
        settle()


def settle() -> None:
    """What is alive now will stay: leave it out of every later walk. It is freed by its count of references as ever."""
    gc.freeze()
