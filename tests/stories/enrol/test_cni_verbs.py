"""What the calls of a runtime mean to a real agent: GC by its list, STATUS by readiness, DEL by interface."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.scale_host import get_json
from tests.bench.scale_rig import NODE, TAG, Rig, netns
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.rig import node, well

from tidegate.settings import envoy_binary

FIRST = config.FEW.pods  # number of the first spare pod
NET = "other-network"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with node() as made:
        yield made


@pytest.fixture
def spare(rig: Rig) -> Iterator[int]:
    """A pod that is enrolled for the test."""
    rig.cni("ADD", FIRST)
    yield FIRST
    rig.cni("DEL", FIRST)
    rig.renew(FIRST)


def captured(rig: Rig) -> set[str]:
    """Names of the pods that the kernel captures."""
    return {pod["name"] for pod in get_json(rig.run_dir / "agent.sock", "/pods")}


def requests_work(rig: Rig, number: int) -> None:
    watcher = rig.watcher(number)
    watcher.tell(do="first", url=[config.vip(1), config.PORT, config.host(1)])
    watcher.answer()
    watcher.close()


def valid(rig: Rig, *numbers: int, ifname: str = "eth0") -> list[dict[str, str]]:
    """A list as libcni makes it."""
    return [{"containerID": rig.container(number), "ifname": ifname} for number in numbers]


def collect(rig: Rig, attachments: Any, network: str = TAG) -> None:
    """GC of a network."""
    more = {"cniVersion": "1.1.0", "name": network, "cni.dev/valid-attachments": attachments}
    done = rig.call("GC", 0, **more)
    assert (done.returncode, done.stdout) == (0, ""), done


def status(rig: Rig) -> tuple[int, dict[str, Any]]:
    """STATUS: the exit code, and what was printed."""
    done = rig.call("STATUS", 0, cniVersion="1.1.0")
    return done.returncode, json.loads(done.stdout or "{}")


@pytest.mark.case("E2")
def test_gc_releases_what_it_does_not_list_and_leaves_the_rest(rig: Rig, spare: int) -> None:
    others = range(config.FEW.pods)
    name, before = f"local-{spare}", captured(rig)
    assert name in before
    collect(rig, valid(rig, *others, spare))
    assert captured(rig) == before
    collect(rig, valid(rig, *others, spare), network=NET)
    collect(rig, [], network=NET)
    assert captured(rig) == before, "another network's list says nothing about this one"
    collect(rig, valid(rig, *others))
    assert captured(rig) == before - {name}, "released when GC returns"
    assert rig.call("CHECK", spare).returncode == 1
    requests_work(rig, 0)


@pytest.mark.case("E2")
def test_gc_takes_one_interface_and_leaves_the_pod(rig: Rig, spare: int) -> None:
    assert rig.call("ADD", spare, ifname="net1", ip="192.168.7.7", name=NET).returncode == 0
    collect(rig, [], network=NET)
    (pod,) = [pod for pod in rig.status()["pods"] if pod["name"] == f"local-{spare}"]
    assert [a["interface"] for a in pod["attachments"]] == ["eth0"]
    assert rig.call("CHECK", spare, ifname="net1").returncode == 1
    assert rig.call("CHECK", spare).returncode == 0
    requests_work(rig, spare)


@pytest.mark.case("E2")
def test_a_gc_that_cannot_be_read_is_refused_and_changes_nothing(rig: Rig) -> None:
    before = captured(rig)
    broken: dict[str, Any] = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"ifname": "eth0"}]}
    done = rig.call("GC", 0, **broken)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 100)
    assert rig.call("GC", 0, cniVersion="1.1.0").returncode == 0, "a runtime that lists nothing at all takes nothing"
    assert captured(rig) == before


def restart(rig: Rig, **environ: str) -> None:
    pid = rig.status()["agent"]["pid"]
    rig.stop_agent()
    rig.start_agent(**environ)
    well(rig, but=pid)


def missing(said: dict[str, Any]) -> bool:
    """Whether STATUS says that Envoy is missing, and that running pods are concerned."""
    assert (said.get("code"), "envoy up" in said.get("details", "")) == (51, True), said
    return True


@pytest.mark.case("E2")
def test_status_says_that_envoy_is_missing_and_that_running_pods_are_concerned(rig: Rig) -> None:
    program = rig.work / "envoy"
    program.symlink_to(envoy_binary())
    restart(rig, TIDEGATE_ENVOY=str(program))
    assert status(rig) == (0, {})
    try:
        program.unlink()  # so the next one cannot start
        kill(int(rig.status()["envoy"]["pid"]))
        eventually(lambda: missing(status(rig)[1]), "STATUS says so")
    finally:
        restart(rig)
    assert status(rig) == (0, {})


@pytest.mark.case("E2")
def test_status_before_the_first_configuration_is_in_force_and_without_an_agent(rig: Rig) -> None:
    pid = rig.status()["agent"]["pid"]
    rig.stop_agent()
    code, said = status(rig)
    assert (code, said["code"], "agent of this node is away" in said["msg"]) == (1, 50, True)
    aside = rig.work / "config-aside"
    (rig.work / "config").rename(aside)
    try:
        rig.start_agent()
        rig.wait("the agent answers", lambda seen: seen["agent"]["pid"] != pid)
        eventually(lambda: status(rig)[1].get("code") == 50, "relay and Envoy are adopted: only new pods are concerned")
        assert status(rig)[1]["details"].startswith("not ready: configuration in sync;")
    finally:
        aside.rename(rig.work / "config")
    well(rig, but=pid)
    assert status(rig) == (0, {})


@pytest.mark.case("E1")
def test_a_pod_stays_in_the_mesh_when_its_interface_is_renamed(rig: Rig, spare: int) -> None:
    """What is called eth0 inside is the application's business; CNI_IFNAME is the attachment's name."""
    script = "link set eth0 down\nlink set eth0 name lan0\nlink set lan0 up\nroute add default via 10.97.0.1\n"
    script += f"route add {config.ENDPOINTS} via 10.97.0.2\n"
    subprocess.run(["ip", "-n", netns(spare), "-batch", "-"], input=script, text=True, check=True)
    requests_work(rig, spare)
    assert rig.call("CHECK", spare).returncode == 0


@pytest.mark.case("E1")
def test_an_agent_that_starts_knows_both_interfaces_of_a_pod(rig: Rig, spare: int) -> None:
    assert rig.call("ADD", spare, ifname="net1", ip="192.168.7.7", name=NET).returncode == 0
    pid = rig.status()["agent"]["pid"]
    rig.stop_agent(signal.SIGKILL)
    rig.start_agent()
    well(rig, but=pid)
    assert rig.call("DEL", spare, ifname="net1", ip="192.168.7.7", name=NET).returncode == 0
    assert f"local-{spare}" in captured(rig)
    requests_work(rig, spare)


@pytest.mark.case("E1")
def test_a_pod_that_lost_its_namespace_goes_although_one_interface_was_never_taken_back(rig: Rig) -> None:
    number = FIRST + 1
    rig.cni("ADD", number)
    assert rig.call("ADD", number, ifname="net1", ip="192.168.7.7", name=NET).returncode == 0
    port = netns(number).removeprefix(f"{TAG}-")
    subprocess.run(["ip", "-n", NODE, "link", "delete", port], check=True)
    subprocess.run(["ip", "netns", "delete", netns(number)], check=True)
    rig.cni("DEL", number)
    assert f"local-{number}" not in captured(rig)
    rig.join(number)
