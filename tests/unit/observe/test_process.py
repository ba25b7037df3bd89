"""What agents and gateways say of themselves in the same words."""

from __future__ import annotations

import os

from tests.support.clock import ManualClock
from tests.support.configs import config_of

from tidegate.model.mesh import Mesh
from tidegate.model.status import Outcome, State
from tidegate.observe.life import Life
from tidegate.observe.process import OwnProcess, not_in_force, outcome_told, request_asked


def test_the_head_of_a_status() -> None:
    clock = ManualClock()
    process = OwnProcess(Life(3, "killed"), ["file:/x"], clock)
    clock.advance(12.34)
    broken = config_of("kind: Service", errors=True)
    told = process.status("node1", ["envoy is starting"], (7, 5), broken)
    assert (told["node"], told["healthy"], told["unhealthy"]) == ("node1", False, ["envoy is starting"])
    assert (told["applied"], told["sources"]) == ({"generation": 7, "revision": 5}, ["file:/x"])
    agent = told["agent"]
    assert (agent["pid"], agent["starts"], agent["previous"], agent["uptime_seconds"]) == (
        os.getpid(),
        3,
        "killed",
        12.3,
    )
    assert {problem["severity"] for problem in told["config"]["problems"]} == {"error"}
    well = process.status("node1", [], (7, 5), None)
    assert (well["healthy"], well["config"]) == (True, {"problems": []})


def test_why_nothing_is_in_force() -> None:
    assert not_in_force(None, 0) == ["no configuration was delivered yet"]
    assert not_in_force(Mesh(), 0) == ["the first configuration is not in force yet"]
    assert not_in_force(Mesh(), 1) == []


def test_an_outcome_and_a_request() -> None:
    outcome = Outcome("pod a/b", State.FAILED, "why", ("Pod a/b",))
    assert outcome_told(outcome) == {"item": "pod a/b", "reason": "why", "origins": ["Pod a/b"]}
    query = {"method": "PUT", "path": "/x", "header.0.user": "jason", "header.1.x.y": "z", "pod": "a/b"}
    request = request_asked(query)
    assert (request.method, request.path, dict(request.headers)) == ("PUT", "/x", {"user": "jason", "x.y": "z"})
    assert (request_asked({}).method, request_asked({}).path) == ("GET", "/")
