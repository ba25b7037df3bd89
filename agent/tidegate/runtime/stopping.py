"""Being asked to stop."""

from __future__ import annotations

import asyncio
import signal


def asked_to_stop() -> asyncio.Event:
    """Set once this process gets SIGTERM or SIGINT. Called in the running loop before anybody can see the process
    serve: whoever sees it may ask it to stop at once, and without a handler the kernel ends it where it stands
    (signal(7))."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
