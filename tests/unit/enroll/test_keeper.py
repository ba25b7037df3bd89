from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.eventually import eventually

from tidegate.enroll.keeper import Keeper
from tidegate.enroll.node_cni import NodeCni

LIST = '{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}'


@pytest.fixture
def node(tmp_path: Path) -> NodeCni:
    (tmp_path / "bin").mkdir()
    (tmp_path / "plugin").write_bytes(b"plugin")
    return NodeCni(tmp_path / "net.d", tmp_path / "bin", tmp_path / "cni.sock", tmp_path / "plugin")


@pytest.fixture
async def keeper(node: NodeCni) -> AsyncIterator[Keeper]:
    keeper = Keeper(node)
    task = asyncio.create_task(keeper.run())
    yield keeper
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def soon(check: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, check, "the keeper's work")


async def test_it_waits_for_the_primary_cni_and_then_mends_what_that_writes(node: NodeCni, keeper: Keeper) -> None:
    await soon(lambda: "does not exist" in keeper.kept().problem)
    node.conf_dir.mkdir()
    await soon(lambda: "no network configuration yet" in keeper.kept().problem)
    file = node.conf_dir / "10-net.conflist"
    file.write_text(LIST)
    await soon(lambda: not keeper.kept().problem)
    assert (keeper.kept().conflist, keeper.kept().repairs) == (str(file), 0)
    file.write_text("{")
    await soon(lambda: "is not JSON" in keeper.kept().problem)
    file.write_text(LIST)
    await soon(lambda: keeper.kept().repairs == 1 and node.status().whole)
    (node.bin_dir / "tidegate").unlink()
    await soon(lambda: keeper.kept().repairs == 2 and node.status().whole)
    (node.conf_dir / "05-new.conflist").write_text(LIST)
    await soon(lambda: keeper.kept().conflist.endswith("05-new.conflist") and node.status().whole)
