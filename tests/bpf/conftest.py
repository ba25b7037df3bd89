"""One datapath on a cgroup tree of its own, and pods (netns + cgroup) whose programs are real processes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from tests.bpf.pod import OBJECTS, Pod, Tree, remove_pins

from tidegate.bpf.datapath import Datapath

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "tests/bpf load programs into the kernel: run them as root"


@pytest.fixture
def tree() -> Iterator[Tree]:
    """Cgroups of one node and a directory for pins; gone afterwards."""
    tree = Tree(f"x-bpf-{os.getpid()}-{next(_numbers)}")
    tree.create()
    try:
        yield tree
    finally:
        tree.remove()


@pytest.fixture
def open_datapath(tree: Tree) -> Iterator[Callable[[], Datapath]]:
    """Opens the datapath of this tree, as often as asked; everything is removed afterwards."""
    opened: list[Datapath] = []

    def open_() -> Datapath:
        opened.append(tree.open_datapath(OBJECTS))
        return opened[-1]

    yield open_
    for datapath in opened:
        datapath.close()
    remove_pins(tree.pins)


@pytest.fixture
def datapath(open_datapath: Callable[[], Datapath]) -> Datapath:
    return open_datapath()


@pytest.fixture
def make_pod(tree: Tree) -> Iterator[Callable[[], Pod]]:
    """Makes pods that nobody has enrolled."""
    pods: list[Pod] = []

    def make() -> Pod:
        pods.append(Pod(tree, f"{tree.name}-{len(pods)}", len(pods) + 1))
        return pods[-1]

    yield make
    for pod in pods:
        pod.remove()


@pytest.fixture
def pod(make_pod: Callable[[], Pod], datapath: Datapath) -> Pod:
    """An enrolled and guarded pod with listeners of both tiers on both families."""
    pod = make_pod()
    pod.listen()
    datapath.set_pod(pod.cookie, pod.row())
    datapath.attach_lookup(pod.cookie, pod.netns_fd)
    return pod
