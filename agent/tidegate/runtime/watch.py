"""Moments at which something below a path may have changed: inotify (watchfiles), and a look every so often without an
event, because events get lost and say nothing about what a symlink outside leads to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

# Not awatch: it brings anyio, 20 ms of each start, to run this on a thread.
from watchfiles._rust_notify import RustNotify

from tidegate.runtime.worker import Worker

_DEBOUNCE_MS = 50  # a burst of events is collected for at most this long
_STEP_MS = 10  # ... or until it was quiet for this long
_TICK_MS = 250  # the path itself may be a symlink: looked at this often
_LOOK_EVERY = 8  # ticks between two looks without an event


async def signs(path: Path) -> AsyncIterator[None]:
    """Yield once path exists, then whenever something in it may have changed. Never ends by itself."""
    while True:
        root = identity(path)
        if root is None:
            await asyncio.sleep(_TICK_MS / 1000)
            continue
        ticks = 0
        try:
            async with aclosing(_events(path)) as events:
                async for changed in events:
                    if changed or ticks % _LOOK_EVERY == 0:
                        yield None
                    ticks += 1
                    if identity(path) != root:
                        break
        except OSError:  # vanished between the look and the watch, or the machine has no watch left: look all the same
            yield None
            await asyncio.sleep(_TICK_MS / 1000)


def identity(path: Path) -> tuple[str, int] | None:
    """What the path leads to, through symlinks; None if nothing."""
    try:
        return (os.path.realpath(path), path.stat().st_ino)
    except OSError:
        return None


async def _events(path: Path) -> AsyncGenerator[bool, None]:
    """Whether something changed: no as soon as the watch is in place, and no each tick in which nothing did.

    Whoever looks after the first misses nothing, so nobody has to look a second time for what came in between.
    """
    recursive, ignore_permission_denied = True, True
    with RustNotify([str(path)], False, False, 0, recursive, ignore_permission_denied) as watch:
        thread, stop = Worker("watch"), threading.Event()
        try:
            yield False
            while True:
                found = await thread.do(watch.watch, _DEBOUNCE_MS, _STEP_MS, _TICK_MS, stop)
                if found == "stop":
                    return
                yield isinstance(found, set)
        finally:
            stop.set()
            await thread.do(_nothing)  # the call before it has ended: the watch may be closed
            thread.close()


def _nothing() -> None:
    pass
