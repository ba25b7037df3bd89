"""Several sources, one Mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tidegate.config.last_good import LastGood
from tidegate.config.sources.base import Change, Source
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.runtime.collector import paused, settle
from tidegate.runtime.latest import Latest

_MANY = 1000  # objects that came at once: they will stay, and are worth to be left out of the collector's walks


async def follow(sources: Sequence[Source], out: Latest[Mesh | None], last_good: LastGood) -> None:
    """Until cancelled: put everything that the sources tell through a store into out.

    Nothing is published before each source is in sync, so that a slow one does not look like a deletion. All work is
    done in threads, one at a time: the event loop stays free.
    """
    store = Store(len(sources))
    store.seed(await asyncio.to_thread(last_good.seed))
    applying = asyncio.Lock()

    async def follow_one(index: int, source: Source) -> None:
        async for changes in source.watch():
            async with applying:
                mesh = await asyncio.to_thread(_apply, store, index, changes)
                if mesh.generation:
                    await asyncio.to_thread(last_good.keep, store.broken)
                    if mesh is not out.value:
                        await out.set(mesh)

    async with asyncio.TaskGroup() as group:
        for index, source in enumerate(sources):
            group.create_task(follow_one(index, source))


def _apply(store: Store, source: int, changes: Sequence[Change]) -> Mesh:
    with paused():
        mesh = store.apply(source, changes)
    if len(changes) >= _MANY:
        settle()
    return mesh
