"""`tls.sni.conn`: new connections, divided by the name that a TLS client asks for, against HAProxy's passthrough.

The server answers the client's first message with one byte. A handshake would cost client and server many times what it
costs to carry it, the same for everybody, and hide what is compared.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from tests.bench import turns
from tests.bench.contestants import HAPROXY_PORT, SERVER_PORT, Contestant, Direct, HAProxy, Tidegate
from tests.bench.loads import BY_NAME, FIRST, HELLO, NOBODY, SECOND, metrics
from tests.bench.processes import BenchError
from tests.bench.report import results
from tests.bench.topology import MESH_PORT, LabPods, Topology

PEER = "haproxy"
UNKNOWN = replace(BY_NAME[0], name="a name that leads nowhere", argument=NOBODY)


def measured(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """All of them."""
    here = turns.ROOT / "tests/bench"
    pods = LabPods(turns.BIN / "tidegate", here / "pods.yaml", here / "sni.yaml")
    with ExitStack() as cleanup:
        cleanup.callback(pods.down)
        pods.up()
        contestants: list[Contestant] = [Direct(pods, turns.TOOLS), ByName(pods), Passthrough(pods)]
        cleanup.enter_context(turns.started(pods, contestants, BY_NAME))
        for contestant in contestants[1:]:
            goes_by_name(pods, contestant)
        runs = turns.measured(pods, contestants, BY_NAME, rounds, seconds)
    return results(metrics(BY_NAME), runs, [PEER])


def goes_by_name(pods: Topology, contestant: Contestant) -> None:
    """Raises BenchError if a name that it was told nothing of gets an answer, or nothing can be said."""
    try:
        turns.counted(pods, contestant, UNKNOWN, turns.PROBE_SECONDS, os.sched_getaffinity(0))
    except turns.NothingCounted:
        raise
    except BenchError:
        contestant.check()
        return
    raise BenchError(f"{contestant.name} carries a connection to {NOBODY}: it does not go by names")


class ByName(Tidegate):
    """The client, a process of the enrolled pod, dials a Service whose VirtualService has tls routes."""

    def __init__(self, pods: LabPods) -> None:
        super().__init__(pods)
        self._address = pods.service("secure", {MESH_PORT + HELLO: "fastpath"})

    def address(self) -> tuple[str, int]:
        return self._address, MESH_PORT


class Passthrough(HAProxy):
    """HAProxy as its manual has it: wait for the client's first message, choose by its name, hand on the bytes."""

    def config(self) -> str:
        rules = "".join(f"    use_backend {name} if {{ req.ssl_sni -i {name} }}\n" for name in (FIRST, SECOND))
        server = f"    server pod {self.topology.server.ip}:{SERVER_PORT + HELLO}\n"
        return (
            self.head()
            + f"""frontend tls
    mode tcp
    bind 127.0.0.1:{HAPROXY_PORT + HELLO}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
{rules}"""
            + "".join(f"backend {name}\n    mode tcp\n{server}" for name in (FIRST, SECOND))
        )
