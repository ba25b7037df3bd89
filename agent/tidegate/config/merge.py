"""Several sources, one configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tidegate.config.last_good import LastGood
from tidegate.config.source import Loaded, Source, combine
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.runtime.latest import Latest


async def follow(sources: Sequence[Source], store: Store, out: Latest[Mesh | None], last_good: LastGood) -> None:
    """Until cancelled: put every new state of the sources through the store into out.

    Nothing is published before each source delivered once, so that a slow one does not look like a deletion.
    """
    store.merge(last_good.seed())
    readings: dict[int, Loaded] = {}
    publishing = asyncio.Lock()

    async def follow_one(index: int, source: Source) -> None:
        async for loaded in source.watch():
            async with publishing:
                readings[index] = loaded
                if len(readings) == len(sources):
                    newest = combine([readings[i] for i in range(len(sources))])
                    config = store.merge(newest)
                    last_good.remember(newest)
                    if config is not out.value:
                        await out.set(config)

    async with asyncio.TaskGroup() as group:
        for index, source in enumerate(sources):
            group.create_task(follow_one(index, source))
