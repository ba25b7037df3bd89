"""The benchmark on two bare pods: every contestant gives every figure, takes its own path, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bench.contestants import Contestant, Direct, HAProxy
from tests.bench.loads import BY_NAME, FIRST, LOADS
from tests.bench.processes import BenchError, alone, run, until
from tests.bench.scale_host import cgroup2
from tests.bench.scale_rig import PINS, TAG
from tests.bench.sidecars import Sidecars
from tests.bench.sni import Passthrough, goes_by_name
from tests.bench.topology import NETNS, OwnPods
from tests.bench.turns import BIN, ROOT, TOOLS, probe
from tests.support.eventually import HANG_SECONDS


@pytest.fixture
def pods() -> Iterator[OwnPods]:
    topology = OwnPods()
    lock = alone()
    try:
        topology.up()
        yield topology
    finally:
        topology.down()
        lock.close()


def leftovers() -> str:
    netns = [line for line in run("ip", "netns", "list").splitlines() if line.startswith(NETNS)]
    return " ".join([*netns, *(str(path) for path in Path(tempfile.gettempdir()).glob("tidegate-bench-*"))])


def test_a_whole_run_gives_every_figure_and_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    words = ["--pods", "own", "--rounds", "1", "--seconds", "0.2", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10 * HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for result in json.loads(output.read_text())["results"]:
        figures = [result["direct"], *result["peers"].values()]
        assert all(figure > 0 for figure in figures), result["name"]
        assert result["tidegate"] is None
    with alone():  # what another run makes meanwhile is not ours
        assert leftovers() == ""


def test_the_sidecar_model_goes_through_both_envoys_and_only_while_it_is_measured(
    pods: OwnPods, tmp_path: Path
) -> None:
    with ExitStack() as cleanup:
        direct, sidecars = Direct(pods, TOOLS), Sidecars(pods, BIN / "envoy")
        for contestant in (direct, sidecars):
            cleanup.callback(contestant.stop)
            contestant.start(tmp_path)
            for load in LOADS:
                until(lambda c=contestant, one=load: probe(pods, c, one), load.name)  # type: ignore[misc]
        assert nat(pods) == 0, "rules stay behind when it is not measured"
        inbound = next(program for program in sidecars.programs if program.name == "envoy inbound")
        inbound.stop()
        sidecars.programs.remove(inbound)
        for load in LOADS:
            with pytest.raises(BenchError):
                probe(pods, sidecars, load)
            until(lambda one=load: probe(pods, direct, one), f"direct {load.name}")  # type: ignore[misc]
        assert nat(pods) == 0, "a failed run leaves its rules behind"


def test_haproxy_is_in_the_path(pods: OwnPods, tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        contestants: list[Contestant] = [Direct(pods, TOOLS), HAProxy(pods)]
        for contestant in contestants:
            cleanup.callback(contestant.stop)
            contestant.start(tmp_path)
            until(lambda c=contestant: probe(pods, c, LOADS[-1]), contestant.name)  # type: ignore[misc]
        contestants[0].stop()
        for load in LOADS:
            with pytest.raises(BenchError):
                probe(pods, contestants[1], load)


def test_connections_by_name_go_through_haproxy_and_only_for_names_that_it_was_told(
    pods: OwnPods, tmp_path: Path
) -> None:
    (load,) = BY_NAME
    with ExitStack() as cleanup:
        direct, haproxy = Direct(pods, TOOLS), Passthrough(pods)
        for contestant in (direct, haproxy):
            cleanup.callback(contestant.stop)
            contestant.start(tmp_path)
            until(lambda c=contestant: probe(pods, c, load), contestant.name)  # type: ignore[misc]
        until(lambda: probe(pods, haproxy, replace(load, argument=FIRST)), FIRST)
        goes_by_name(pods, haproxy)
        with pytest.raises(BenchError, match="does not go by names"):
            goes_by_name(pods, direct)
        direct.stop()
        with pytest.raises(BenchError):
            probe(pods, haproxy, load)


def nat(pods: OwnPods) -> int:
    """How many nat tables there are in the two pods."""
    return sum(run(*pod.command(["nft", "list", "tables"])).count("table ip nat") for pod in (pods.client, pods.server))


def test_scale_is_measured_on_a_node_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    before = set(Path(tempfile.gettempdir()).glob(f"{TAG}-*"))
    words = ["--only", "scale.smoke", "--quick", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())["results"]
    results = {result["name"].removeprefix("scale.smoke."): result for result in found}
    wanted = {"change_ms", "change_told_ms", "first_ms", "enrol_p50_ms", "enrol_p99_ms", "cold_s"}
    assert set(results) == wanted | {"envoy_mb", "agent_mb", "relay_mb"}
    assert all(results[name]["tidegate"] > 0 for name in wanted | {"envoy_mb", "agent_mb"})
    assert TAG not in run("ip", "netns", "list")
    assert not PINS.exists()
    assert not (cgroup2() / TAG).exists()
    assert set(Path(tempfile.gettempdir()).glob(f"{TAG}-*")) <= before, "of others, whose runs were killed"
