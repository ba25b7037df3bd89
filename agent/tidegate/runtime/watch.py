"""Moments at which something below a path may have changed: inotify (watchfiles), and a look every so often without an
event, because events get lost and say nothing about what a symlink outside leads to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch
from watchfiles.main import FileChange

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
        yield None
        ticks = 0
        try:
            async with aclosing(_events(path)) as events:
                async for changes in events:
                    # The first tick too: something may have changed before the watch was in place.
                    if changes or ticks % _LOOK_EVERY == 0:
                        yield None
                    ticks += 1
                    if identity(path) != root:
                        break
        except OSError:  # vanished between the look and the watch
            await asyncio.sleep(_TICK_MS / 1000)


def identity(path: Path) -> tuple[str, int] | None:
    """What the path leads to, through symlinks; None if nothing."""
    try:
        return (os.path.realpath(path), path.stat().st_ino)
    except OSError:
        return None


def _events(path: Path) -> AsyncGenerator[set[FileChange], None]:
    """Sets of changes, and an empty one each tick without any."""
    return awatch(
        path,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        watch_filter=None,
        ignore_permission_denied=True,
    )
