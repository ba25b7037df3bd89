"""An agent that a cluster's API server configures: real agent, Envoy, relay and CNI plugin; the API server is the small
one that tests/contract holds against a real one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.bench import scale_config as config
from tests.bench.scale_rig import NODE, TRY_AGAIN, Rig
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.kube.inside import ApiInside
from tests.support.kube.objects import crds, endpoint, endpoint_slice
from tests.support.rig import stays_ready, well

SPARE = config.FEW.pods


def cluster() -> Iterator[dict[str, Any]]:
    """What scale_config.write() writes, as a cluster has it: endpoints are in slices."""
    size = config.FEW
    yield from crds()
    yield from yaml.safe_load_all(config.FIRST)
    for number in range(size.pods):
        yield yaml.safe_load(config.local_pod(number))
    for number in range(size.services):
        yield from yaml.safe_load_all(config.service(number))
        yield slice_of(number, config.address(200, number))
    for number in config.with_rule(size):
        yield yaml.safe_load(config.rule(number, 0))


def slice_of(number: int, *addresses: str) -> dict[str, Any]:
    name = f"s{number:05}"
    return endpoint_slice(f"{name}-a", name, [endpoint(one) for one in addresses], ns=config.NAMESPACE)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, ApiInside]]:
    rig = Rig(config.FEW, give_up=HANG_SECONDS)
    try:
        rig.up()
        with ApiInside(NODE, tmp_path_factory.mktemp("cluster")) as inside:
            inside.apply(*cluster())
            rig.source = f"kube:{inside.kubeconfig}"
            rig.start_agent()
            rig.wait("the agent comes up", lambda status: status)
            rig.enrol()
            well(rig)
            yield rig, inside
            rig.down()
    finally:
        rig.down()


def url(number: int) -> list[Any]:
    return [config.vip(number), config.PORT, config.host(number)]


def in_force(rig: Rig, inside: ApiInside, number: int, value: int) -> None:
    """A rule is changed in the cluster, and seen on the wire from pod 0."""
    watcher = rig.watcher()
    watcher.tell(do="until", url=url(number), header=config.CHANGED, value=str(value))
    watcher.answer()
    inside.apply(yaml.safe_load(config.rule(number, value)))
    watcher.answer()
    watcher.close()


def answers(rig: Rig, number: int, service: int = 1) -> None:
    """A pod gets an answer of a service."""
    watcher = rig.watcher(number)
    watcher.tell(do="first", url=url(service))
    watcher.answer()
    watcher.close()


def away(status: dict[str, Any]) -> str:
    """Why the API server does not answer, as `status` tells it."""
    return str(status["clusters"][0]["away"])


def test_a_rule_of_the_cluster_comes_into_force(api: tuple[Rig, ApiInside]) -> None:
    rig, inside = api
    in_force(rig, inside, 0, 1)
    in_force(rig, inside, 0, 2)


def test_a_pod_waits_for_what_the_api_server_says_of_it(api: tuple[Rig, ApiInside]) -> None:
    """The kubelet starts a sandbox at once; its Pod may reach the agent after the CNI call."""
    rig, inside = api
    refused = rig.call("ADD", SPARE)
    assert json.loads(refused.stdout)["code"] == TRY_AGAIN, refused
    inside.apply(yaml.safe_load(config.local_pod(SPARE)))
    rig.cni("ADD", SPARE)
    answers(rig, SPARE)
    rig.cni("DEL", SPARE)
    inside.delete(yaml.safe_load(config.local_pod(SPARE)))
    rig.renew(SPARE)


def uncaptured(status: dict[str, Any]) -> dict[str, str]:
    """Why, by the pod's name."""
    return {pod["name"]: pod["reason"] for pod in status["uncaptured"]}


def test_a_pod_that_no_cni_call_told_of_is_captured_while_it_runs(api: tuple[Rig, ApiInside]) -> None:
    """It was attached while our plugin was not in the chain, as after a boot at which the primary CNI wrote its
    configuration anew; the cluster says that it runs."""
    rig, inside = api
    name = f"local-{SPARE}"
    inside.apply(yaml.safe_load(config.running_pod(SPARE)))

    def captured(status: dict[str, Any]) -> bool:
        found = [pod for pod in status["pods"] if pod["name"] == name and pod["enrolled"]]
        return bool(found and "it ran before it was found" in found[0]["reason"] and not uncaptured(status))

    rig.wait("it is found and captured", captured)
    answers(rig, SPARE)
    before = rig.status()["agent"]["pid"]
    rig.stop_agent(signal.SIGKILL)
    rig.start_agent()
    well(rig, but=before)
    rig.wait("the next agent knows it", captured)
    rig.cni("DEL", SPARE)
    rig.wait("its runtime has taken it back", lambda status: name not in {pod["name"] for pod in status["pods"]})
    inside.delete(yaml.safe_load(config.local_pod(SPARE)))
    rig.renew(SPARE)


def test_a_pod_that_cannot_be_found_is_named_and_the_node_is_not_well(api: tuple[Rig, ApiInside]) -> None:
    rig, inside = api
    nowhere = "10.97.200.1"
    inside.apply(yaml.safe_load(config.running_pod(SPARE, nowhere)))
    why = f"no CNI call told of it, and no network namespace of this node has {nowhere}; delete the pod"
    rig.wait("it is named", lambda status: uncaptured(status) == {f"local-{SPARE}": why})
    assert rig.status()["unhealthy"] == [f"a pod runs uncaptured, first: {config.NAMESPACE}/local-{SPARE}"]
    inside.delete(yaml.safe_load(config.local_pod(SPARE)))
    well(rig)
    assert not rig.status()["uncaptured"]


def test_without_the_api_server_everything_goes_on(api: tuple[Rig, ApiInside]) -> None:
    rig, inside = api
    in_force(rig, inside, 10, 1)
    saved = rig.run_dir / "kube-0"
    eventually(lambda: _is_saved(saved, f'{config.CHANGED}":"1"'), "the rule is on disk")
    with stays_ready(rig):
        inside.stop()
        try:
            rig.wait("status tells of it", away)
            answers(rig, 0, 10)
        finally:
            inside.start()
        rig.wait("it is back", lambda status: not away(status))
        in_force(rig, inside, 10, 2)


def test_an_agent_that_starts_without_the_api_server_serves_what_it_knew(api: tuple[Rig, ApiInside]) -> None:
    rig, inside = api
    in_force(rig, inside, 10, 3)
    eventually(lambda: _is_saved(rig.run_dir / "kube-0", f'{config.CHANGED}":"3"'), "the rule is on disk")
    before = rig.status()["agent"]["pid"]
    inside.stop()
    try:
        rig.stop_agent(signal.SIGKILL)
        rig.start_agent()
        well(rig, but=before)
        watcher = rig.watcher()
        watcher.tell(do="until", url=url(10), header=config.CHANGED, value="3")
        watcher.answer()
        watcher.close()
        kinds = rig.status()["clusters"][0]["kinds"]
        assert all(kind["from_disk"] for kind in kinds), kinds
    finally:
        inside.start()
    rig.wait("it is back", lambda status: not away(status))
    in_force(rig, inside, 10, 4)


def _is_saved(directory: Path, text: str) -> bool:
    return any(text in path.read_text().replace(" ", "") for path in directory.glob("*.facts"))
