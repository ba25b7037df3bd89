"""Several sources, one Mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from tidegate.config.last_good import LastGood
from tidegate.config.sources.base import Change, ConfigSource
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.model.verdict import Verdict
from tidegate.runtime.collector import paused, settle
from tidegate.runtime.latest import Latest

_MANY = 1000  # objects that came at once: they will stay, and are worth to be left out of the collector's walks


async def follow(
    sources: Sequence[ConfigSource],
    out: Latest[Mesh | None],
    last_good: LastGood,
    verdicts: asyncio.Queue[Sequence[Verdict]] | None = None,
) -> None:
    """Until cancelled: put everything that the sources tell through a store into out, and what Envoy says of it.

    Nothing is published before each source is in sync, so that a slow one does not look like a deletion. All work is
    done in threads, one at a time: the event loop stays free.
    """
    store = Store(len(sources))
    store.seed(await asyncio.to_thread(last_good.seed))
    applying = asyncio.Lock()

    async def put(apply: Callable[[], Mesh]) -> None:
        async with applying:
            mesh = await asyncio.to_thread(apply)
            if mesh.generation:
                await asyncio.to_thread(last_good.keep, store.broken)
                if mesh is not out.value:
                    await out.set(mesh)

    async def follow_one(index: int, source: ConfigSource) -> None:
        async for changes in source.watch():
            await put(partial(_apply, store, index, changes))

    async def follow_verdicts(told: asyncio.Queue[Sequence[Verdict]]) -> None:
        while True:
            await put(partial(store.judge, await told.get()))

    async with asyncio.TaskGroup() as group:
        for index, source in enumerate(sources):
            group.create_task(follow_one(index, source))
        if verdicts is not None:
            group.create_task(follow_verdicts(verdicts))


def _apply(store: Store, source: int, changes: Sequence[Change]) -> Mesh:
    with paused():
        mesh = store.apply(source, changes)
    if len(changes) >= _MANY:
        settle()
    return mesh
