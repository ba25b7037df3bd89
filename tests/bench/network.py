"""`l4.*` and `l7.*`: the way from one pod to another, by every path."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.bench import turns
from tests.bench.contestants import Contestant, Direct, HAProxy, Tidegate
from tests.bench.loads import LOADS, metrics
from tests.bench.report import PEERS, results
from tests.bench.sidecars import Sidecars
from tests.bench.topology import Topology


def measured(topology: Topology, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every figure; Tidegate competes where the pods are in a mesh."""
    with ExitStack() as cleanup:
        cleanup.callback(topology.down)
        topology.up()
        contestants: list[Contestant] = [
            Direct(topology, turns.TOOLS),
            Sidecars(topology, turns.BIN / "envoy"),
            HAProxy(topology),
        ]
        if topology.mesh:
            contestants.insert(1, Tidegate(topology))
        cleanup.enter_context(turns.started(topology, contestants, LOADS))
        runs = turns.measured(topology, contestants, LOADS, rounds, seconds)
    return results(metrics(LOADS), runs, PEERS)
