"""Threads for what blocks: the kernel, namespaces, the disk. The event loop only ever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Worker:
    """Threads of one device. With one thread, the default, calls are done in the order in which they were made."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def do(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run fn on a thread; returns or raises what it does. It runs to its end also if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(fn, *args, **kwargs))

    def close(self) -> None:
        """Take no more calls; those that were made are still done."""
        self._executor.shutdown(wait=False)
