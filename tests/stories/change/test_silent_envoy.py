"""A port becomes HTTP while Envoy says nothing: the tier that served it serves it until Envoy has confirmed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.scale_host import get_json
from tests.bench.scale_rig import Rig
from tests.support.eventually import eventually
from tests.support.rig import change, node

TCP, HTTP = "{name: tcp, port: 700", "{name: http, port: 700"
SILENT_SECONDS = 12.0  # longer than any patience of the agent: 3 s until it is said, 5 s for a cluster
OTHER = config.with_rule(config.FEW)[1]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with node() as made:
        change(made, OTHER, 1)  # Envoy has a listener, scopes and routes
        yield made


def tier(rig: Rig) -> str:
    """Where the kernel's row of the port leads."""
    rows = get_json(rig.run_dir / "agent.sock", "/services")
    return str(next(r["tier"] for r in rows if (r["address"], r["port"]) == (config.TCP_VIP, config.TCP_PORT)))


def answers(rig: Rig) -> None:
    """A connection of its own to the port, with a request in it, whatever stands between."""
    watcher = rig.watcher()
    watcher.tell(do="first", url=[config.TCP_VIP, config.TCP_PORT, f"plain.{config.NAMESPACE}.svc.cluster.local"])
    watcher.answer()
    watcher.close()


@pytest.mark.case("A6")
def test_a_port_that_becomes_http_is_served_as_before_while_envoy_is_silent(rig: Rig) -> None:
    first = rig.work / "config" / "first.yaml"
    written = first.read_text()
    assert TCP in written
    assert tier(rig) == "fastpath"
    envoy = rig.status()["envoy"]["pid"]
    os.kill(envoy, signal.SIGSTOP)
    try:
        began = rig.status()["agent"]["uptime_seconds"]
        first.write_text(written.replace(TCP, HTTP))

        def silent_for_long() -> bool:
            assert tier(rig) == "fastpath"
            answers(rig)
            status: dict[str, Any] = rig.status()
            assert status["envoy"]["pid"] == envoy
            said = [f["reason"] for f in status["appliers"]["envoy"]["failures"]]
            return "no answer within 3 s" in said and status["agent"]["uptime_seconds"] > began + SILENT_SECONDS

        eventually(silent_for_long, "Envoy has been silent for long")
    finally:
        os.kill(envoy, signal.SIGCONT)
    eventually(lambda: tier(rig) == "envoy", "Envoy has confirmed")
    answers(rig)
    first.write_text(written)
    eventually(lambda: tier(rig) == "fastpath", "and back")
    answers(rig)
