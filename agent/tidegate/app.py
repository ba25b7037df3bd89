"""Composition root: the only place that constructs and wires. Reads top to bottom like the picture in README.

sources ─────> Store ───────┐
                            ├─> Cycle (compile, then appliers) ─> kernel tables, fast path, Envoy
CNI socket -> SandboxStore ─┘                                 └─> Status -> CNI reply, admin API, metrics
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import __version__
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.pins import Pins, claim
from tidegate.bpf.probe import probe, require
from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.opening import ConfigSources
from tidegate.dataplane.assembly import assemble
from tidegate.dataplane.capture import SandboxRecords, inside
from tidegate.dataplane.cni_calls import CniCalls
from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.running import RunningPods
from tidegate.dns.client import NodeDnsProcess
from tidegate.enroll.cni_server import CniServer
from tidegate.enroll.crash_loops import CrashLoops
from tidegate.enroll.keeper import Keeper
from tidegate.enroll.node_cni import NodeCni
from tidegate.enroll.running import having
from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.errors import Fatal
from tidegate.identity.keys import KeysInMemory
from tidegate.identity.opening import open_issuer, open_revocations
from tidegate.identity.store import Identities
from tidegate.linux.capabilities import keep_needed_only, require_needed
from tidegate.linux.cgroup import cgroup2_mount, cgroup_home, own_cgroup
from tidegate.linux.inherited import shed_inherited
from tidegate.linux.memory import share_heap
from tidegate.linux.netns import NetnsLinks, NetnsNames, in_netns
from tidegate.model.mesh import Mesh
from tidegate.observe.admin import Admin
from tidegate.observe.certificates import CertificatesView
from tidegate.observe.dashboard.assets import assets
from tidegate.observe.dashboard.sampling import Dashboard
from tidegate.observe.life import Life, living, make_private
from tidegate.observe.readiness import CARRYING, CONFIGURATION, ENVOY, HOOKS, RELAY, Readiness
from tidegate.observe.views import Views
from tidegate.relay.client import RelayClient
from tidegate.relay.connection import RelayConfig
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.collector import settle
from tidegate.runtime.latest import Latest
from tidegate.runtime.stopping import asked_to_stop
from tidegate.runtime.worker import Worker
from tidegate.settings import Settings, build_root, envoy_binary, listen_address, namespace_socket, relay_binary
from tidegate.supervise.supervisor import ProgramState
from tidegate.telemetry.flows import Judged, follow_flows
from tidegate.telemetry.identities import CertificatesCollector
from tidegate.telemetry.judged import Refusals
from tidegate.telemetry.metrics import ClusterCollector, EarlierCollector, OthersCollector
from tidegate.telemetry.pairs import Pairs
from tidegate.telemetry.scrape import AgentMetrics
from tidegate.xds.server import AdsServer

if TYPE_CHECKING:
    from tidegate.xds.discovery import DiscoveryServer

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run one node agent until SIGTERM or SIGINT. Raises TidegateError if it cannot do its job here."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    logging.getLogger("tidegate").setLevel(settings.log_level.upper())
    logging.getLogger("tidegate.access").setLevel("INFO" if settings.access_log else "WARNING")
    if os.geteuid() != 0:
        raise Fatal("tidegate agent", "needs root: what it reads and writes belongs to root", "run it as root")
    share_heap()
    shed_inherited("tidegate agent")
    require_needed()
    require(probe())
    make_private(settings.run_dir)
    # With the capabilities given up below, not even root may make a group beside those of the hierarchy's root (0555).
    home = cgroup_home(own_cgroup(), cgroup2_mount(), settings.node)
    keep_needed_only()
    with living(settings.run_dir) as life:
        log.info("tidegate %s on %s, start %d, before: %s", __version__, settings.node, life.starts, life.previous)
        await _run(settings, life, home)


@dataclass(frozen=True, slots=True)
class Devices:
    """What carries connections, each opened or adopted from an earlier agent."""

    datapath: Datapath
    relays: RelaySupervisor
    relay: RelayClient
    ads: AdsServer
    envoy: EnvoySupervisor
    dns: NodeDnsProcess | None  # None: pods ask their own resolvers


def open_devices(settings: Settings, home: Path) -> Devices:
    """Hooks in place; relay and Envoy are started by their supervisors' run(), in groups below home. Raises Fatal."""
    relay_cgroup, envoy_cgroup = home / "relay", home / "envoy"
    for cgroup in (relay_cgroup, envoy_cgroup):
        cgroup.mkdir(exist_ok=True)
    datapath = Datapath.open(
        bpffs=settings.bpffs,
        cgroup=settings.cgroup or cgroup2_mount(),
        agent_cgroup=relay_cgroup,  # of those who connect to endpoints only the relay is inside pods
        envoy_cgroup=envoy_cgroup,
        objects=build_root() / "bpf",
        node_cgroup=cgroup2_mount(),
    )
    config = RelayConfig(workers=settings.workers, each_event=settings.access_log)
    relays = RelaySupervisor(relay_binary(), settings.run_dir, relay_cgroup, config)
    ads = AdsServer(settings.xds_socket)
    envoy = EnvoySupervisor(
        envoy_binary(), settings.run_dir, settings.node, settings.xds_socket, envoy_cgroup, settings.envoy_concurrency
    )
    dns = None
    if settings.dns_capture:
        dns = NodeDnsProcess(settings.run_dir, Pins(settings.bpffs).maps, home / "dns")
        dns.listen()
    relay = RelayClient(relays, datapath.flows_fd, datapath.wishes_fd, datapath.called_fd)
    return Devices(datapath, relays, relay, ads, envoy, dns)


def data_plane(
    settings: Settings,
    devices: Devices,
    store: SandboxStore,
    disk: Worker,
    config: Latest[Mesh | None],
    certificates: Identities,
    ended: Callable[[], None],
) -> Cycle:
    """The cycle over these devices, with the sandboxes that an earlier agent knew. disk: the sandbox store's thread."""
    cycle = assemble(
        node=settings.node,
        config=config,
        tables=devices.datapath,
        relay=devices.relay,
        envoy=devices.ads,
        dns=devices.dns,
        certificates=certificates,
        certificates_ahead=bool(settings.ca),
        inside=inside(in_netns),
        records=SandboxRecords(store.netns, store.remember),
        disk=disk,
        clock=SystemClock(),
        jitter=random.random,
        relay_cgroup=devices.datapath.settings().agent_cgroup,
        ended=ended,
    )
    cycle.set_sandboxes(store.load())
    return cycle


def netns_names(settings: Settings) -> NetnsNames:
    """By which Envoy finds the pods' namespaces."""
    kind = NetnsLinks if settings.netns_names == "links" else NetnsNames
    return kind(settings.run_dir / "netns")


def node_cni(settings: Settings) -> Keeper | None:
    """Who keeps our plugin in the node's CNI chain; None if it is not to be there."""
    if settings.cni_conf_dir is None:
        return None
    plugin = build_root() / "cni" / "tidegate"
    return Keeper(
        NodeCni(settings.cni_conf_dir, settings.cni_bin_dir, settings.cni_socket, plugin, settings.cni_conflist)
    )


def running_pods(settings: Settings, cycle: Cycle, store: SandboxStore, calls: CniCalls) -> RunningPods:
    """Who looks for pods that no CNI call told of."""
    return RunningPods(
        settings.node,
        cycle.facts,
        lambda ips: having(settings.netns_dir, ips, store.has_told),
        calls.take_up,
        calls.sweep_once,
        Worker("running pods"),
        SystemClock(),
        random.random,
    )


def readiness(devices: Devices, cycle: Cycle) -> Readiness:
    """The tokens of this node. Hooks are attached before there is an agent to ask."""
    return Readiness(
        {
            CONFIGURATION: lambda: cycle.status.value.generation > 0,
            HOOKS: lambda: bool(devices.datapath.hooks),
            RELAY: lambda: cycle.relay_up,
            ENVOY: lambda: devices.envoy.status().state == ProgramState.RUNNING,
        }
    )


def others_server(settings: Settings) -> DiscoveryServer | None:
    """Who serves configuration to Envoys and gRPC clients that are not ours; None if nobody is to."""
    if not settings.xds_listen:
        return None
    # Imported here: most nodes serve nobody else, and an agent without the forms of others starts 15 ms earlier.
    from tidegate.xds.discovery import DiscoveryServer
    from tidegate.xds.services import NamespaceSocket

    sockets = [NamespaceSocket(*namespace_socket(text, "--xds-secrets")) for text in settings.xds_secrets]
    return DiscoveryServer(*listen_address(settings.xds_listen, "--xds-listen"), settings.node, sockets=sockets)


async def _run(settings: Settings, life: Life, home: Path) -> None:
    stop = asked_to_stop()
    claimed = claim(settings.bpffs)
    devices = open_devices(settings, home)

    # Facts in, data plane out
    config: Latest[Mesh | None] = Latest(None)
    gateways_in = frozenset(namespace_socket(text, "--xds-secrets")[0] for text in settings.xds_secrets)
    sources = ConfigSources(settings.config, settings.run_dir, config, settings.node, gateways_in)
    store = SandboxStore(settings.run_dir / "sandboxes", netns_names(settings))
    disk = Worker("sandbox records")
    issuer = open_issuer(settings.ca, settings.ca_root, settings.ca_token, settings.ca_name, settings.ca_dir)
    certificates = Identities(issuer, KeysInMemory(), SystemClock(), random.random, settings.certificate_seconds)
    revoked = open_revocations(settings.crl)
    if revoked:
        await certificates.revoke(revoked.value)
    earlier = EarlierCollector()
    cycle = data_plane(settings, devices, store, disk, config, certificates, earlier.ended)
    tokens, loops = readiness(devices, cycle), CrashLoops(time.monotonic)
    calls = CniCalls(store, disk, Worker("namespaces' names"), cycle, tokens.missing, CARRYING, loops, SystemClock())
    cni = CniServer(settings.cni_socket, calls)
    keeper = node_cni(settings)
    running = running_pods(settings, cycle, store, calls)

    others = others_server(settings)

    # What people and programs may know
    held = CertificatesView(settings.node, certificates, SystemClock(), revoked)
    views = Views(
        node=settings.node,
        life=life,
        datapath=devices.datapath,
        cycle=cycle,
        config=lambda: config.value,
        sandboxes=store.by_cookie,
        ads=devices.ads,
        relay=devices.relays,
        envoy=devices.envoy,
        dns=devices.dns,
        sources=sources.names,
        clusters=sources,
        cni=keeper.kept if keeper else None,
        crash_loops=loops.all,
        uncaptured=running.uncaptured,
        others=others.status if others else None,
        certificates=held,
    )
    names, pairs = devices.dns, Pairs()
    metrics = AgentMetrics(
        devices.datapath,
        devices.relay,
        lambda: names.counts if names else {},
        lambda: cycle.facts.value,
        devices.envoy.admin.get,
        (
            earlier,
            *((OthersCollector(others.status, lambda: (others.told, others.refused)),) if others else ()),
            *((ClusterCollector(sources.status),) if sources.status() else ()),
            CertificatesCollector(certificates, SystemClock()),
        ),
    )
    dashboard = Dashboard(
        status=views.status,
        rows=views.pods,
        verdicts=devices.datapath.counters,
        live=devices.datapath.live_flows,
        fastpath=devices.relay.stats,
        pairs=pairs,
        envoy=devices.envoy.admin.get,
        services=lambda: cycle.plan.value.services,
        sandboxes=store.by_cookie,
    )
    admin = Admin(
        views={
            "status": views.status,
            "pods": views.pods,
            "services": views.services,
            "certs": held.rows,
            "policies": views.policies,
            "explain": views.explain,
            "config_dump": views.config_dump,
            "figures": dashboard.figures,
        },
        metrics=metrics.exposition,
        missing=tokens.missing,
        assets=assets(),
    )
    flows = follow_flows(
        devices.relay.events(),
        metrics.tcp,
        lambda: cycle.facts.value,
        lambda number: cycle.plan.value.services.get(number, ""),
        pairs,
        Judged(metrics.policies, Refusals(SystemClock()), devices.relay.policy_name),
    )

    await devices.envoy.take_over()
    await devices.ads.start()
    if others:
        await others.start()
    await admin.start(settings.admin_socket, settings.admin_port, settings.metrics_port, settings.ready_port)
    await cni.start()
    settle()  # modules and their classes: a walk of them would hold up an enrolment by 60 ms
    work: dict[str, Coroutine[Any, Any, None]] = {
        "config": follow(sources.all, config, LastGood(settings.run_dir / "last-good"), devices.ads.verdicts),
        "cycle": cycle.run(),
        "certificates": certificates.run(),
        **({"revocations": revoked.run(certificates.revoke)} if revoked else {}),
        "sweep": calls.sweep(),
        "running pods": running.run(),
        "relay": devices.relays.run(),
        "relay client": devices.relay.run(),
        "envoy": devices.envoy.run(),
        **({"dns": devices.dns.run(), "dns client": devices.dns.serve()} if devices.dns else {}),
        "flows": flows,
        **({"cni": keeper.run()} if keeper else {}),
        **({"xds for others": others.follow(cycle.facts)} if others else {}),
        "stop": _until(stop),
    }
    tasks = {asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()}
    try:
        await _first_end(tasks)
    finally:
        log.info("stopping: pinned programs, relay and Envoy go on")
        await cni.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await admin.stop()
        await devices.ads.stop()
        await issuer.close()
        if others:
            await others.stop()
        disk.close()
        store.close()
        devices.datapath.close()
        os.close(claimed)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _first_end(tasks: set[asyncio.Task[None]]) -> None:
    """Until one of the tasks ends. Raises what it raised: only "stop" ends on purpose."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if task.get_name() != "stop":
            log.error("task %s ended: the agent stops, so that its supervisor starts a whole one", task.get_name())
            task.result()
