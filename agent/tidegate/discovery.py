"""Composition root of `tidegate xds`: configuration for Envoys and gRPC clients that are not ours, and nothing else.

sources -> Store -> join() ─> DiscoveryServer ─> their streams
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidegate.compile.facts import Facts, join
from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.opening import ConfigSources
from tidegate.linux.inherited import shed_inherited
from tidegate.model.mesh import Mesh
from tidegate.observe.admin import Admin
from tidegate.observe.others import OthersViews
from tidegate.runtime.latest import Latest
from tidegate.runtime.stopping import asked_to_stop
from tidegate.telemetry.metrics import ClusterCollector, OthersCollector, exposition
from tidegate.xds.discovery import DiscoveryServer
from tidegate.xds.services import NamespaceSocket

log = logging.getLogger(__name__)


async def serve(
    sources: Sequence[str],
    address: str,
    port: int,
    state: Path,
    identity: str,
    sockets: Sequence[NamespaceSocket] = (),
    metrics_port: int = 0,
) -> None:
    """Until SIGTERM or SIGINT. state: directory of last good text, and of the socket that `tidegate status` asks.
    metrics_port: on localhost; 0 = none. Raises TidegateError if it cannot listen."""
    shed_inherited("tidegate xds")
    stop = asked_to_stop()
    config: Latest[Mesh | None] = Latest(None)
    opened = ConfigSources(sources, state, config, identity, frozenset(one.namespace for one in sockets))
    server = DiscoveryServer(address, port, identity, sockets=sockets)
    await server.start()
    admin = await _tell(server, config, opened, state, metrics_port)
    print(f"serving on {address} port {server.port}", flush=True)
    tasks = [
        asyncio.create_task(follow(opened.all, config, LastGood(state / "last-good"))),
        asyncio.create_task(_publish(server, config)),
        asyncio.create_task(stop.wait()),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await admin.stop()
        await server.stop()


async def _tell(
    server: DiscoveryServer, config: Latest[Mesh | None], sources: ConfigSources, state: Path, metrics_port: int
) -> Admin:
    """What people and programs may know."""
    views = OthersViews(server.status, lambda: config.value, sources.names, clusters=sources)
    metrics = CollectorRegistry()
    metrics.register(OthersCollector(server.status, lambda: (server.told, server.refused)))
    metrics.register(ClusterCollector(sources.status))
    admin = Admin(
        views={"status": views.status},
        metrics=lambda: asyncio.to_thread(exposition, metrics),
        missing=views.missing,
        assets={},
    )
    try:
        state.mkdir(parents=True, exist_ok=True)
        await admin.start(state / "agent.sock", 0, metrics_port, 0)
    except OSError as error:
        log.warning("nobody can ask how it does: %s; name another --state-dir", error)
    return admin


async def _publish(server: DiscoveryServer, config: Latest[Mesh | None]) -> None:
    version, facts, told = 0, None, frozenset[str]()
    while True:
        version, mesh = await config.newer(version)
        if mesh is None:
            continue
        problems = frozenset(map(str, mesh.problems))
        for problem in sorted(problems - told):
            log.warning("%s", problem)
        told = problems
        facts = await asyncio.to_thread(_joined, mesh, facts)
        await server.publish(facts)


def _joined(mesh: Mesh, before: Facts | None) -> Facts:
    return join(mesh, (), before)
