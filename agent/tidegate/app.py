"""Composition root: the only place that constructs and wires. Reads top to bottom like the picture in README.

file source -> Store ──┐
                       ├─> Cycle (compile, then appliers) ─> kernel tables, fast path, Envoy
CNI socket -> Registry ┘                                 └─> Status -> CNI reply, admin API, metrics
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidegate import __version__
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.pins import claim
from tidegate.bpf.probe import probe, require
from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.files import FileSource
from tidegate.dataplane.cni_calls import Enrolment
from tidegate.dataplane.cycle import Cycle
from tidegate.enroll.cni_server import CniServer
from tidegate.enroll.keeper import Keeper
from tidegate.enroll.node_cni import NodeCni
from tidegate.enroll.registry import Registry
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.errors import Fatal
from tidegate.fastpath import FastPath
from tidegate.linux.capabilities import keep_needed_only, require_needed
from tidegate.linux.cgroup import cgroup2_mount, cgroup_home, own_cgroup
from tidegate.linux.netns import NetnsNames, in_netns
from tidegate.model.mesh import Mesh
from tidegate.observe.admin import Admin
from tidegate.observe.dashboard.assets import assets
from tidegate.observe.dashboard.sampling import Dashboard
from tidegate.observe.life import Life, living, require_private
from tidegate.observe.views import Views
from tidegate.runtime.latest import Latest
from tidegate.settings import Settings, build_root, envoy_binary
from tidegate.telemetry.flows import follow_flows
from tidegate.telemetry.metrics import AgentCollector, TcpMetrics, exposition
from tidegate.telemetry.pairs import Pairs
from tidegate.xds.server import AdsServer

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run one node agent until SIGTERM or SIGINT. Raises TidegateError if it cannot do its job here."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    logging.getLogger("tidegate").setLevel(settings.log_level.upper())
    logging.getLogger("tidegate.access").setLevel("INFO" if settings.access_log else "WARNING")
    if os.geteuid() != 0:
        raise Fatal("tidegate agent", "needs root: what it reads and writes belongs to root", "run it as root")
    require_needed()
    require(probe())
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_private(settings.run_dir)
    # With the capabilities given up below, not even root may make a group beside those of the hierarchy's root (0555).
    own = own_cgroup()
    envoy_cgroup = cgroup_home(own, cgroup2_mount(), settings.node) / "envoy"
    keep_needed_only()
    with living(settings.run_dir) as life:
        log.info("tidegate %s on %s, start %d, before: %s", __version__, settings.node, life.starts, life.previous)
        await _run(settings, life, own, envoy_cgroup)


async def _run(settings: Settings, life: Life, own: Path, envoy_cgroup: Path) -> None:
    claimed = claim(settings.bpffs)
    # Devices
    envoy_cgroup.mkdir(exist_ok=True)
    datapath = Datapath.open(
        bpffs=settings.bpffs,
        cgroup=settings.cgroup or cgroup2_mount(),
        agent_cgroup=own,
        envoy_cgroup=envoy_cgroup,
        objects=build_root() / "bpf",
    )
    relay = FastPath.start(flows_fd=datapath.flows_fd, workers=settings.workers, each_event=settings.access_log)
    ads = AdsServer(settings.xds_socket)
    envoy = EnvoySupervisor(
        envoy_binary(), settings.run_dir, settings.node, settings.xds_socket, envoy_cgroup, settings.envoy_concurrency
    )

    # Facts in, data plane out
    sources = [FileSource(Path(source.removeprefix("file:"))) for source in settings.config]
    config: Latest[Mesh | None] = Latest(None)
    registry = Registry(settings.run_dir / "sandboxes", NetnsNames(settings.run_dir / "netns"))
    cycle = Cycle(
        node=settings.node,
        config=config,
        tables=datapath,
        relay=relay,
        envoy=ads,
        in_netns=in_netns,
        netns=registry.netns,
        captured=registry.remember,
    )
    cycle.set_sandboxes(registry.load())
    cni = CniServer(settings.cni_socket, Enrolment(registry, cycle))
    keeper = None
    if settings.cni_conf_dir is not None:
        plugin = build_root() / "cni" / "tidegate"
        where = (settings.cni_conf_dir, settings.cni_bin_dir, settings.cni_socket, plugin, settings.cni_conflist)
        keeper = Keeper(NodeCni(*where))

    # What people and programs may know
    views = Views(
        node=settings.node,
        life=life,
        datapath=datapath,
        cycle=cycle,
        config=lambda: config.value,
        sandboxes=registry.by_cookie,
        ads=ads,
        envoy=envoy,
        sources=settings.config,
        cni=keeper.kept if keeper else None,
    )
    metrics = CollectorRegistry()
    metrics.register(
        AgentCollector(
            datapath.counters,
            lambda: relay.stats().closed,
            lambda: {"fastpath_active_connections": relay.stats().active, "captured_flows": datapath.flow_count()},
        )
    )
    pairs = Pairs()
    dashboard = Dashboard(
        status=views.status,
        rows=views.pods,
        verdicts=datapath.counters,
        live=datapath.live_flows,
        fastpath=relay.stats,
        pairs=pairs,
        envoy=envoy.admin.get,
        services=lambda: cycle.snapshot.value.services,
        sandboxes=registry.by_cookie,
    )
    flows = follow_flows(
        relay.events(),
        TcpMetrics(metrics),
        lambda: cycle.facts.value,
        lambda number: cycle.snapshot.value.services.get(number, ""),
        pairs,
    )
    admin = Admin(
        views={
            "status": views.status,
            "pods": views.pods,
            "services": views.services,
            "explain": views.explain,
            "config_dump": views.config_dump,
            "figures": dashboard.figures,
        },
        metrics=lambda: exposition(metrics),
        ready=views.unhealthy,
        assets=assets(),
    )

    await envoy.take_over()
    await ads.start()
    await admin.start(settings.admin_socket, settings.admin_port, settings.metrics_port, settings.ready_port)
    await cni.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = {
        asyncio.create_task(work, name=name)
        for name, work in {
            "config": follow(sources, config, LastGood(settings.run_dir / "last-good")),
            "cycle": cycle.run(),
            "envoy": envoy.run(),
            "flows": flows,
            **({"cni": keeper.run()} if keeper else {}),
            "stop": stop.wait(),
        }.items()
    }
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    try:
        for task in done:
            if task.get_name() != "stop":
                log.error("task %s ended: the agent stops, so that its supervisor starts a whole one", task.get_name())
                task.result()
    finally:
        log.info("stopping: pinned programs stay, live connections have %.0f s", settings.drain_seconds)
        await cni.stop()
        for task in tasks:
            if task.get_name() in ("cycle", "config", "cni", "stop"):
                task.cancel()
        await envoy.stop(settings.drain_seconds)
        await asyncio.to_thread(relay.stop, settings.drain_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await admin.stop()
        await ads.stop()
        datapath.close()
        registry.close()
        os.close(claimed)
