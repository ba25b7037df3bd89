"""`tidegate agent --end`: the end of the mesh on a node. An agent that only stops leaves everything to the next one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

from tidegate.bpf.pins import Pins, claim
from tidegate.dns.client import NodeDnsProcess
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.linux.capabilities import require_needed
from tidegate.observe.life import require_private
from tidegate.relay.connection import RelayConfig
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.settings import Settings, envoy_binary, relay_binary
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


def _left(settings: Settings) -> Iterator[Supervisor]:
    """The programs that an agent started, each in the cgroup where it put them."""
    if (cgroup := recorded_cgroup(settings.run_dir / "relay")) is not None:
        yield RelaySupervisor(relay_binary(), settings.run_dir, cgroup, RelayConfig())
    if (cgroup := recorded_cgroup(settings.run_dir / "envoy")) is not None:
        yield EnvoySupervisor(envoy_binary(), settings.run_dir, settings.node, settings.xds_socket, cgroup)
    if (cgroup := recorded_cgroup(settings.run_dir / "dns")) is not None:
        yield NodeDnsProcess(settings.run_dir, Pins(settings.bpffs).maps, cgroup)
