"""Composition root of a gateway: the only place that constructs and wires one.

sources ─────> Store ──> GatewayWork (join, compile_gateway) ──> ADS ──> Envoy, at the ports of this pod
certificate files ─────────┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tidegate import __version__
from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.opening import ConfigSources
from tidegate.envoy.supervisor import GatewayEnvoy
from tidegate.errors import Fatal
from tidegate.gateway.files import CertificateDirectory
from tidegate.gateway.views import GatewayViews
from tidegate.gateway.work import GatewayWork
from tidegate.identity.keys import KeysInMemory
from tidegate.identity.opening import open_issuer, open_revocations
from tidegate.identity.store import Identities
from tidegate.linux.capabilities import GATEWAY, keep_needed_only
from tidegate.linux.cgroup import cgroup2_mount, cgroup_home, own_cgroup
from tidegate.linux.inherited import shed_inherited
from tidegate.linux.memory import share_heap
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.identity import Identity
from tidegate.model.mesh import Mesh
from tidegate.observe.admin import Admin
from tidegate.observe.certificates import CertificatesView
from tidegate.observe.life import Life, living, make_private
from tidegate.observe.readiness import CONFIGURATION, ENVOY, Readiness
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.latest import Latest
from tidegate.runtime.stopping import asked_to_stop
from tidegate.settings import GatewaySettings, envoy_binary
from tidegate.supervise.supervisor import ProgramState
from tidegate.telemetry.carried import CarriedConnections, gateway_itself
from tidegate.telemetry.identities import CertificatesCollector
from tidegate.telemetry.metrics import ClusterCollector, TcpMetrics, exposition
from tidegate.xds.server import AdsServer

log = logging.getLogger(__name__)

SERVING = "not ending"


async def serve(settings: GatewaySettings) -> None:
    """Run one gateway until SIGTERM or SIGINT, then let its connections finish. Raises TidegateError if it cannot."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    logging.getLogger("tidegate").setLevel(settings.log_level.upper())
    if os.geteuid() != 0:
        raise Fatal("tidegate gateway", "needs root of its pod, to bound what Envoy may do", "run it as root")
    share_heap()
    shed_inherited("tidegate gateway")
    make_private(settings.run_dir)
    home = cgroup_home(own_cgroup(), cgroup2_mount(), "gateway")
    keep_needed_only(GATEWAY)
    with living(settings.run_dir) as life:
        log.info("tidegate %s, gateway %s of %s", __version__, settings.selector, settings.namespace)
        await _run(settings, life, home)


async def _run(settings: GatewaySettings, life: Life, home: Path) -> None:
    stop = asked_to_stop()
    ads = AdsServer(settings.xds_socket)
    envoy = GatewayEnvoy(
        envoy_binary(),
        settings.run_dir,
        f"gateway-{settings.namespace}",
        settings.xds_socket,
        home / "envoy",
        settings.envoy_concurrency,
    )
    config: Latest[Mesh | None] = Latest(None)
    who = f"gateway of {settings.namespace}"
    sources = ConfigSources(settings.config, settings.run_dir, config, who, frozenset({settings.namespace}))
    files = CertificateDirectory()
    workload = GatewayWorkload(settings.namespace, settings.labels, ipv6_usable())
    issuer = open_issuer(settings.ca, settings.ca_root, settings.ca_token, settings.ca_name, settings.ca_dir)
    identities = Identities(issuer, KeysInMemory(), SystemClock(), random.random, settings.certificate_seconds)
    revoked = open_revocations(settings.crl)
    if revoked:
        await identities.revoke(revoked.value)
    identity = Identity(settings.namespace, settings.service_account)
    work = GatewayWork(workload, settings.node, config, files, ads, identities, identity)
    tokens = Readiness(
        {
            CONFIGURATION: lambda: work.applied[0] > 0,
            ENVOY: lambda: envoy.status().state == ProgramState.RUNNING,
            SERVING: lambda: not stop.is_set(),
        }
    )
    held = CertificatesView(settings.node or who, identities, SystemClock(), revoked)
    views = GatewayViews(settings, life, work, lambda: config.value, ads, envoy, clusters=sources, certificates=held)
    registry = CollectorRegistry()
    registry.register(ClusterCollector(sources.status))
    registry.register(CertificatesCollector(identities, SystemClock()))
    of_itself = gateway_itself(workload)
    carried = CarriedConnections(TcpMetrics(registry), lambda: work.facts, envoy.admin.get, of_itself)

    async def metrics() -> bytes:
        await carried.read()
        return await asyncio.to_thread(exposition, registry)

    admin = Admin(
        views={"status": views.status, "explain": views.explain, "certs": held.rows, "config_dump": views.config_dump},
        metrics=metrics,
        missing=tokens.missing,
        assets={},
    )
    await envoy.take_over()
    await ads.start()
    await admin.start(settings.admin_socket, settings.admin_port, 0, settings.ready_port, ready_everywhere=True)
    work_of: dict[str, Coroutine[Any, Any, None]] = {
        "config": follow(sources.all, config, LastGood(settings.run_dir / "last-good"), ads.verdicts),
        "files": files.run(),
        "work": work.run(),
        "certificates": identities.run(),
        **({"revocations": revoked.run(identities.revoke)} if revoked else {}),
        "envoy": envoy.run(),
    }
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work_of.items()]
    stopping = asyncio.create_task(_until(stop), name="stop")
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            log.error("task %s ended: the gateway stops, so that whoever runs it starts a whole one", task.get_name())
            task.result()
        log.info("stopping: connections have %g s to finish", settings.drain_seconds)
        await envoy.stop(settings.drain_seconds)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        await admin.stop()
        await ads.stop()
        await issuer.close()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def ipv6_usable() -> bool:
    """Whether a socket of that family can be bound here: Envoy refuses a listener that lacks an address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as one:
            one.bind(("::", 0))
    except OSError:
        return False
    return True
