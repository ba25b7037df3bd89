"""`tidegate agent --end`: the end of the mesh on a node. An agent that only stops leaves everything to the next one.

An agent of a DaemonSet does the same, and takes our plugin out of the node's chain, when it ends after the DaemonSet
was deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Iterator

from tidegate.bpf.pins import Pins, claim
from tidegate.dns.client import NodeDnsProcess
from tidegate.enroll.node_cni import NodeCni
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.errors import TidegateError
from tidegate.linux.capabilities import require_needed
from tidegate.observe.life import require_private
from tidegate.relay.connection import RelayConfig
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.settings import Settings, build_root, envoy_binary, relay_binary
from tidegate.supervise.supervisor import Supervisor, recorded_cgroup

log = logging.getLogger(__name__)


async def end(settings: Settings) -> None:
    """Stop redirecting, let what the relay and Envoy have finish within settings.drain_seconds, end both.

    For nodes whose agent has stopped. Raises Rejected if it runs, TidegateError if this process may not do it.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="INFO")
    require_needed()
    if not settings.run_dir.is_dir():
        return
    require_private(settings.run_dir)
    claimed = claim(settings.bpffs)
    try:
        Pins(settings.bpffs).remove()  # from here on new connections go where they were dialled
        await asyncio.gather(*(program.end(settings.drain_seconds) for program in _left(settings)))
    finally:
        os.close(claimed)
    log.info("capture, relay and Envoy of %s have ended", settings.node)


async def end_if_removed(settings: Settings) -> None:
    """After the agent has ended: if its DaemonSet was deleted, leave nothing on the node."""
    if not settings.daemonset:
        return
    from tidegate.config.sources.kube.access import in_cluster
    from tidegate.config.sources.kube.removal import why_removed

    why = await why_removed(in_cluster(), *settings.daemonset.split("/", 1))
    if not why:
        return
    log.warning("%s: everything of ours is taken off this node", why)
    if settings.cni_conf_dir is not None:  # first, or pods would wait for an agent that does not come
        node = NodeCni(
            settings.cni_conf_dir, settings.cni_bin_dir, settings.cni_socket, build_root() / "cni" / "tidegate"
        )
        try:
            for line in await asyncio.to_thread(node.uninstall):
                log.info("CNI: %s", line)
        except TidegateError as error:
            log.error("CNI: %s", error)
    groups = [group for name in ("relay", "envoy", "dns") if (group := recorded_cgroup(settings.run_dir / name))]
    await end(settings)
    for group in groups:
        for path in (group, group.parent):
            with contextlib.suppress(OSError):  # not empty: it is not ours alone
                path.rmdir()
    # The run directory is a volume of the DaemonSet: mounted here, so only what is in it can go.
    shutil.rmtree(settings.ca_dir, ignore_errors=True)
    for path in settings.run_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _left(settings: Settings) -> Iterator[Supervisor]:
    """The programs that an agent started, each in the cgroup where it put them."""
    if (cgroup := recorded_cgroup(settings.run_dir / "relay")) is not None:
        yield RelaySupervisor(relay_binary(), settings.run_dir, cgroup, RelayConfig())
    if (cgroup := recorded_cgroup(settings.run_dir / "envoy")) is not None:
        yield EnvoySupervisor(envoy_binary(), settings.run_dir, settings.node, settings.xds_socket, cgroup)
    if (cgroup := recorded_cgroup(settings.run_dir / "dns")) is not None:
        yield NodeDnsProcess(settings.run_dir, Pins(settings.bpffs).maps, cgroup)
