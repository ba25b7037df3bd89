"""One cluster for all stories here; each has a namespace of its own in it and leaves the cluster as it was."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator

import pytest

from tests.kube.cluster import LOGS, Cluster
from tests.kube.untouched import Machine, machine


@pytest.fixture(scope="session", autouse=True)
def needs_root() -> None:
    assert os.geteuid() == 0, "a cluster is made of namespaces and cgroups: run these stories as root"


@pytest.fixture(scope="session")
def untouched(needs_root: None) -> Machine:
    """What the machine was like before the first cluster of this run."""
    return machine()


@pytest.fixture(scope="session")
def cluster(untouched: Machine) -> Iterator[Cluster]:
    """Two nodes, ready. What its programs said is in build/kube-logs afterwards."""
    made = Cluster(f"test-{secrets.token_hex(3)}")
    shutil.rmtree(LOGS, ignore_errors=True)
    made.up()
    yield made
    made.down(LOGS)


@pytest.fixture
def place(cluster: Cluster) -> Iterator[str]:
    """A namespace that nobody else uses."""
    name = f"story-{secrets.token_hex(3)}"
    cluster.namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
