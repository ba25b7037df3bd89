"""Labs that stories share; a suite takes them up in its conftest.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.lab import MANIFESTS, Lab


@pytest.fixture(scope="session", autouse=True)
def needs_root() -> None:
    assert os.geteuid() == 0, "these stories change the kernel: run them as root"


@pytest.fixture(scope="session")
def probe_lab() -> Iterator[Lab]:
    """One node with the pods of manifests/probe.yaml, shared by stories that leave it as they found it."""
    lab = Lab("stories")
    lab.up(MANIFESTS / "probe.yaml")
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def web_lab() -> Iterator[Lab]:
    """One node with two versions of an HTTP service, shared; stories clean up the rules that they apply."""
    lab = Lab("web")
    lab.up(MANIFESTS / "web.yaml")
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def plain_lab() -> Iterator[Lab]:
    """Two nodes without the mesh and the pods of manifests/plain.yaml; stories remove what they add."""
    lab = Lab("plain")
    lab.up(MANIFESTS / "plain.yaml", nodes=2, mesh=False)
    yield lab
    lab.down()
