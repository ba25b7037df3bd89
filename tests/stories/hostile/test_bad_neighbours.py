"""A rule that Envoy refuses, a pod that cannot be captured, a pod in an endless crash loop: all others go on.

The node stays ready (any tenant could stop a roll-out otherwise), status names the object, others enrol and change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.scale_rig import NODE, TAG, Rig, netns
from tests.support.eventually import eventually
from tests.support.files import replace
from tests.support.rig import change, full, node, stays_ready
from tests.support.strict_envoy import REFUSED, refuses_expressions

FIRST = config.FEW.pods  # number of the first spare pod
WITH_RULE, OTHER = config.with_rule(config.FEW)[:2]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with node() as made:
        yield made


def others_go_on(rig: Rig, value: int) -> None:
    """Another pod is enrolled and goes, another tenant's rule comes into force."""
    number = FIRST + 1
    rig.cni("ADD", number)
    # Its last sandbox may still be on its way out.
    seen = [pod for pod in rig.status()["pods"] if pod["name"] == f"local-{number}"]
    assert any(pod["enrolled"] for pod in seen), seen
    change(rig, OTHER, value)
    rig.cni("DEL", number)
    rig.renew(number)


def said_of(status: dict[str, Any], *words: str) -> bool:
    """Whether one line of what is wrong has all the words."""
    failures = [failure for applier in status["appliers"].values() for failure in applier["failures"]]
    lines = [json.dumps(line) for line in (*failures, *status["envoy"]["xds"]["nacks"])]
    return any(all(word in line for word in words) for line in lines)


@pytest.mark.case("A5")
def test_a_rule_that_envoy_refuses_is_named_and_nobody_else_notices(rig: Rig) -> None:
    path = rig.work / "config" / "rules" / f"{WITH_RULE:05}.yaml"
    good = path.read_text()
    watcher = rig.watcher()
    change(rig, WITH_RULE, 9)  # somebody on this node uses the service
    try:
        with stays_ready(rig), refuses_expressions(rig.run_dir):
            replace(path, config.rule(WITH_RULE, 1).replace("{prefix: /old}", f"{{regex: '{REFUSED}'}}"))
            eventually(lambda: said_of(rig.status(), "VirtualService", f"s{WITH_RULE:05}"), "status names the rule")
            others_go_on(rig, 1)
            watcher.tell(do="first", url=[config.vip(WITH_RULE), config.PORT, config.host(WITH_RULE)])
            watcher.answer()  # the last good version serves
    finally:
        replace(path, good)
    eventually(lambda: not rig.status()["envoy"]["xds"]["nacks"], "the rule is good again")
    change(rig, WITH_RULE, 2)


@pytest.mark.case("A5")
def test_a_pod_that_cannot_be_captured_is_refused_and_named_and_nobody_else_notices(rig: Rig) -> None:
    with full(FIRST), stays_ready(rig):
        refused = rig.call("ADD", FIRST)
        assert (refused.returncode != 0, json.loads(refused.stdout)["code"]) == (True, 11)
        status = rig.status()
        failed = {pod["name"]: pod["reason"] for pod in status["pods"] if pod["state"] == "failed"}
        assert list(failed) == [f"local-{FIRST}"]
        assert failed[f"local-{FIRST}"], "and says why"
        assert not status["healthy"]
        assert [line for line in status["unhealthy"] if f"local-{FIRST}" in line]
        assert rig.ready() == 200
        others_go_on(rig, 3)
    rig.cni("ADD", FIRST)  # the obstacle is gone, and the runtime tries again
    rig.cni("DEL", FIRST)
    rig.renew(FIRST)


def named_as_a_crash_loop(rig: Rig, number: int) -> bool:
    """By status, with what it is and what to do; and the node is well all the same."""
    status = rig.status()
    named = {(loop["namespace"], loop["name"]): loop["reason"] for loop in status["crash_loops"]}
    why = named.get((config.NAMESPACE, f"local-{number}"), "")  # the others' pod comes again and again here, too
    assert "times within 10 min and ended again: see why" in why
    assert not [line for line in status["unhealthy"] if "crash" in line]
    command = [sys.executable, "-m", "tidegate", "status", "--run-dir", str(rig.run_dir)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert f"crash loop: pod {config.NAMESPACE}/local-{number}: its sandbox was made" in shown
    return True


def test_a_pod_in_an_endless_crash_loop_disturbs_nobody(rig: Rig) -> None:
    """Sandbox after sandbox, half of them gone while they are being enrolled."""
    enough, rounds = threading.Event(), 0

    def crash() -> None:
        nonlocal rounds
        while not enough.is_set():
            adding = threading.Thread(target=rig.call, args=("ADD", FIRST))
            adding.start()
            if rounds % 2:
                adding.join()
            port = netns(FIRST).removeprefix(f"{TAG}-")
            subprocess.run(["ip", "-n", NODE, "link", "delete", port], check=True)
            subprocess.run(["ip", "netns", "delete", netns(FIRST)], check=True)
            adding.join()
            rig.call("DEL", FIRST)
            rig.join(FIRST)
            rounds += 1

    crashing = threading.Thread(target=crash)
    with stays_ready(rig):
        crashing.start()
        try:
            for value in range(4, 8):
                others_go_on(rig, value)
            eventually(lambda: rounds >= 10 or not crashing.is_alive(), "ten sandboxes came and went")
            assert crashing.is_alive()
            eventually(lambda: named_as_a_crash_loop(rig, FIRST), "status names the loop")
        finally:
            enough.set()
            crashing.join()
    rig.cni("ADD", FIRST)
    rig.cni("DEL", FIRST)
    rig.renew(FIRST)
