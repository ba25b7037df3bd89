"""Several sources, one configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tidegate.config.files import FileSource
from tidegate.config.store import Loaded, Store
from tidegate.model.mesh import MeshConfig
from tidegate.runtime.latest import Latest


async def follow(sources: Sequence[FileSource], store: Store, out: Latest[MeshConfig | None]) -> None:
    """Until cancelled: put every new state of the sources through the store into out.

    Nothing is published before each source delivered once, so that a slow one does not look like a deletion.
    """
    readings: dict[int, Loaded] = {}
    publishing = asyncio.Lock()

    async def follow_one(index: int, source: FileSource) -> None:
        async for loaded in source.watch():
            async with publishing:
                readings[index] = loaded
                if len(readings) == len(sources):
                    newest = [readings[i] for i in range(len(sources))]
                    merged = Loaded(
                        files=tuple(f for one in newest for f in one.files),
                        revision=max(one.revision for one in newest),
                        problems=tuple(p for one in newest for p in one.problems),
                    )
                    config = await store.apply(merged)
                    if config is not out.value:
                        await out.set(config)

    async with asyncio.TaskGroup() as group:
        for index, source in enumerate(sources):
            group.create_task(follow_one(index, source))
