"""Cost follows the change: the kernel's tables are read at the start, by a timer and after an error; no other time."""

from __future__ import annotations

from ipaddress import IPv4Address

from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import FakeTables, Node, at, sandbox

from tidegate.bpf.records import PodRow
from tidegate.dataplane.cycle import RESYNC_SECONDS
from tidegate.dataplane.shadow import BATCH, Shadow
from tidegate.model.mesh import Mesh
from tidegate.model.plan.kernel import Destination
from tidegate.model.status import PodState
from tidegate.model.tier import Tier
from tidegate.runtime.worker import Worker

DB = at("10.96.0.5", 5432)
CLIENT = sandbox("client", 42, "10.0.0.1")
READS = ("destinations", "pods", "lookups", "inbound")


def mesh(*more: str) -> Mesh:
    return config_of(
        ENROLLED,
        service("db", "tcp:5432", ips="10.96.0.5"),
        pod("db-1", "app: db", "10.0.0.50"),
        pod("client", "app: client"),
        *more,
    )


def reads(tables: FakeTables) -> set[int]:
    return {tables.count(read) for read in READS}


async def test_the_tables_are_read_once_however_much_changes() -> None:
    node = Node(mesh(), CLIENT)
    async with node.running():
        for number in range(5):
            await node.configure(mesh(service("new", "tcp:1", ips=f"10.96.1.{number}")))
        for number in range(5):
            await node.attach(sandbox(f"other{number}", 50 + number))
        assert reads(node.tables) == {1}


async def test_only_what_changed_is_written() -> None:
    node = Node(mesh(), CLIENT)
    async with node.running():
        before = len(node.tables.calls)
        await node.configure(mesh(service("new", "tcp:1", ips="10.96.1.1")))
        new = at("10.96.1.1", 1)
        assert node.tables.calls[before:] == [("set_destinations", (new,))]
        before, images, published = len(node.tables.calls), len(node.relay.images), len(node.envoy.published)
        node.cycle.set_sandboxes(node.sandboxes)
        await node.calm()
        assert len(node.tables.calls) == before
        assert (len(node.relay.images), len(node.envoy.published)) == (images, published)


async def test_what_somebody_else_wrote_is_put_right_by_the_timer() -> None:
    node = Node(mesh(), CLIENT)
    async with node.running():
        stranger = at("10.96.9.9", 1)
        node.tables.dests[stranger] = (Tier.ENVOY, 9)
        del node.tables.dests[DB]
        node.tables.guards.clear()
        node.tables.rows[42] = PodRow()
        node.tables.rows[77] = PodRow()
        await node.later(RESYNC_SECONDS)
        assert node.tables.dests.get(DB, (None, 0))[0] is Tier.FASTPATH
        assert stranger not in node.tables.dests
        assert set(node.tables.rows) == node.tables.guards == {42}
        assert node.tables.rows[42].fastpath4
        assert reads(node.tables) == {2}


async def test_after_an_error_the_tables_are_read_again() -> None:
    node = Node(mesh(), CLIENT)
    node.tables.refused.add(42)
    async with node.running():
        assert node.pod("client").state is PodState.FAILED  # type: ignore[union-attr]
        before = node.tables.count("pods")
        await node.later(1.0)
        await node.later(1.0)
        assert node.tables.count("pods") > before


async def test_rows_are_written_in_batches_and_a_refused_one_leaves_the_others() -> None:
    tables = FakeTables(room=2 * BATCH + 10)
    shadow = Shadow(tables, Worker("tables"))
    await shadow.resync()
    rows = [Destination(IPv4Address(n), 1, Tier.DIRECT, 0) for n in range(1, 2 * BATCH + 12)]
    refused = await shadow.put({row.key: row for row in rows[: 2 * BATCH]})
    assert (refused, tables.count("set_destinations")) == ({}, 2)
    refused = await shadow.put({row.key: row for row in rows[2 * BATCH :]})
    assert set(refused) == {rows[-1].key}
    assert len(tables.dests) == tables.room
    assert shadow.destinations == tables.dests
    assert shadow.doubtful
    assert await shadow.delete([row.key for row in rows]) == {}
    assert shadow.destinations == tables.dests == {}


async def test_the_first_read_adopts_all_that_there_is() -> None:
    tables = FakeTables()
    tables.dests[DB] = (Tier.ENVOY, 3)
    tables.rows[7] = PodRow()
    tables.guards.add(7)
    shadow = Shadow(tables, Worker("tables"))
    assert shadow.doubtful
    await shadow.resync()
    assert not shadow.doubtful
    assert (shadow.destinations, shadow.pods, shadow.guards) == (tables.dests, tables.rows, tables.guards)
    assert (shadow.take_drift(), shadow.take_drift()) == ({DB}, set())
