"""Connections that live while policies, and the agent, come and go."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.stories.policy.test_policies import READER, SHOP, STRANGER, STRICT, answered, policy, those_who_pass
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, ROOT, Lab

KEEPING = ROOT / "tests" / "support" / "keeping.py"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("living")
    lab.up(MANIFESTS / "policy.yaml")
    yield lab
    lab.down()


@pytest.fixture
def apply(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Apply policies; removed afterwards."""

    def applied(text: str) -> None:
        lab.apply(text)

    yield applied
    lab.delete(lab.run_dir / "applied-by-test.yaml")


class Kept:
    """A connection of a pod that is used all the time (keeping.py)."""

    def __init__(self, lab: Lab, who: tuple[str, str], host: str, port: int, file: Path) -> None:
        self._file = file
        command = ("/usr/bin/python3", KEEPING, host, str(port), str(file))
        self._process: subprocess.Popen[str] = lab.start(who[0], *command, namespace=who[1])
        eventually(file.exists, f"{who} has a connection to {host}")

    @property
    def cut(self) -> bool:
        return self._file.read_text().endswith("cut")

    def goes_on(self) -> None:
        """Until it was used ten times more."""
        before = int(self._file.read_text().split()[0])
        eventually(lambda: self.cut or int(self._file.read_text()) >= before + 10, "it is used")
        assert not self.cut

    def is_cut(self) -> None:
        eventually(lambda: self.cut, "it is cut")

    def end(self) -> None:
        self._file.unlink(missing_ok=True)
        self._process.communicate()


@pytest.fixture
def keep(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    """Opens connections that live until the test ends, or somebody cuts them."""
    kept: list[Kept] = []

    def opened(who: tuple[str, str], host: str, port: int = 7001) -> Kept:
        kept.append(Kept(lab, who, host, port, tmp_path / str(len(kept))))
        return kept[-1]

    yield opened
    for one in kept:
        one.end()


def test_the_first_policy_cuts_of_those_that_are_there_exactly_the_denied(
    lab: Lab, apply: Callable[[str], None], keep: Callable[..., Kept]
) -> None:
    """They went straight to the application, or by the relay in front of the client."""
    address = lab.address("default/server", "4")
    stays = [keep(READER, address), keep(SHOP, "talk.default", 7000), keep(SHOP, address, 7002)]
    goes = keep(STRANGER, address)
    apply(STRICT)
    goes.is_cut()
    for one in stays:
        one.goes_on()
    log = (lab.node_dirs()[0] / "agent.log").read_text()
    assert "deny_late: policy=istio-system/istio_converted_static_strict" in log


def test_another_policy_cuts_exactly_whom_it_denies(
    lab: Lab, apply: Callable[[str], None], keep: Callable[..., Kept]
) -> None:
    apply(policy("action: AUDIT\nrules: [{}]"))
    address = lab.address("default/server", "4")
    first, second, third = keep(READER, address), keep(SHOP, "talk.default", 7000), keep(STRANGER, address)
    late = lab.metric("tidegate_policy_decisions_total", verdict="deny_late")
    apply(policy("rules: [{from: [{source: {namespaces: [shop]}}]}]"))
    first.is_cut()
    third.is_cut()
    second.goes_on()
    eventually(
        lambda: lab.metric("tidegate_policy_decisions_total", verdict="deny_late") == late + 2, "both are counted"
    )


def test_a_killed_agent_leaves_policies_in_force(
    lab: Lab, apply: Callable[[str], None], keep: Callable[..., Kept]
) -> None:
    apply(STRICT)
    address = lab.address("default/server", "4")
    kept = keep(READER, address)
    before = lab.status()["agent"]
    kill(before["pid"])
    assert not answered(lab, STRANGER, address), "the relay knows them"
    eventually(lambda: lab.status()["agent"]["pid"] != before["pid"], "another agent is there")
    kept.goes_on()
    assert those_who_pass(lab, address) == (READER, SHOP)
    eventually(lambda: lab.status()["healthy"], "it has adopted what there was")
    kept.goes_on()
    assert those_who_pass(lab, address) == (READER, SHOP)
