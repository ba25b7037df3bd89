from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.support.documents import cluster, documents

from tidegate.errors import Rejected
from tidegate.model.names import ObjectKey, WorkloadId
from tidegate_lab.cluster import Cluster
from tidegate_lab.workloads import Existing, PodChanges, plan

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {containers: [{name: c, command: [run]}]}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, command: [run]}]}
"""


class World:
    """Carries plans out at once: what is created is ready, what is ended is gone."""

    def __init__(self, state: Cluster) -> None:
        self.state = state
        self.pods: dict[WorkloadId, Existing] = {}
        self._numbers: Iterator[int] = itertools.count()

    def plan(self) -> PodChanges:
        return plan(self.state, self.pods, lambda: f"n{next(self._numbers)}")

    def step(self, ready: bool = True) -> PodChanges:
        wanted = self.plan()
        for pod in wanted.create:
            self.pods[pod.id] = Existing(pod, ready, ending=False)
        for pod in wanted.change:
            self.pods[pod.id] = Existing(pod, self.pods[pod.id].ready, ending=False)
        for name in wanted.end:
            del self.pods[name]
        return wanted

    def names(self) -> list[str]:
        return [id_.name for id_ in self.pods]


def test_a_bare_pod_is_created_once() -> None:
    world = World(cluster(POD))
    assert [pod.id.name for pod in world.step().create] == ["one"]
    assert not world.plan()


def test_applying_the_same_text_again_changes_nothing() -> None:
    world = World(cluster(POD + "---\n" + DEPLOYMENT))
    world.step()
    world.state.apply(documents(POD + "---\n" + DEPLOYMENT))
    assert not world.plan()


def test_new_labels_leave_the_pod_running_and_a_new_spec_does_not() -> None:
    world = World(cluster(POD))
    world.step()
    world.state.apply(documents(POD.replace("app: one", "app: two")))
    relabelled = world.step()
    assert (len(relabelled.change), relabelled.create, relabelled.end) == (1, (), ())
    assert not world.plan()
    world.state.apply(documents(POD.replace("[run]", "[walk]")))
    assert world.step().end == (WorkloadId("default", "one"),)
    assert [pod.spec.containers[0].command for pod in world.step().create] == [("walk",)]


def test_a_pod_that_is_ending_keeps_its_name_until_it_is_gone() -> None:
    world = World(cluster(POD))
    world.step()
    (name,) = world.pods
    world.state.apply(documents(POD.replace("[run]", "[walk]")))
    world.pods[name] = Existing(world.pods[name].pod, ready=False, ending=True)
    assert not world.plan()


def test_a_deployment_scales_both_ways() -> None:
    world = World(cluster(DEPLOYMENT))
    assert len(world.step().create) == 2
    first = world.names()
    assert all(name.startswith("web-") and name.count("-") == 2 for name in first)
    world.state.apply(documents(DEPLOYMENT.replace("replicas: 2", "replicas: 3")))
    world.step()
    assert world.names()[:2] == first
    world.state.apply(documents(DEPLOYMENT.replace("replicas: 2", "replicas: 1")))
    world.step()
    assert world.names() == first[:1]


def test_scaling_down_ends_pods_that_are_not_ready_first() -> None:
    world = World(cluster(DEPLOYMENT))
    world.step()
    broken = next(iter(world.pods))
    world.pods[broken] = Existing(world.pods[broken].pod, ready=False, ending=False)
    world.state.apply(documents(DEPLOYMENT.replace("replicas: 2", "replicas: 1")))
    assert world.plan().end == (broken,)


def test_old_pods_stay_until_the_new_ones_are_ready() -> None:
    world = World(cluster(DEPLOYMENT))
    world.step()
    old = set(world.pods)
    world.state.apply(documents(DEPLOYMENT.replace("[run]", "[walk]")))
    assert len(world.step(ready=False).create) == 2
    assert not world.plan()
    for name in set(world.pods) - old:
        world.pods[name] = Existing(world.pods[name].pod, ready=True, ending=False)
    assert set(world.plan().end) == old


def test_pods_of_a_deleted_object_end() -> None:
    world = World(cluster(POD + "---\n" + DEPLOYMENT))
    world.step()
    world.state.delete([ObjectKey("apps", "Deployment", "default", "web")])
    assert {name.name.partition("-")[0] for name in world.step().end} == {"web"}
    assert world.names() == ["one"]


def test_a_selector_that_misses_its_own_pods_is_refused() -> None:
    with pytest.raises(Rejected, match="does not match the labels"):
        cluster(DEPLOYMENT.replace("labels: {app: web}", "labels: {app: other}"))
