"""One rule that nobody can use, for a host that is no service and so in the table of each: only it is missing.

Also when agent and Envoy start anew and remember nothing but what is on the disk. The Envoy here refuses more than
validation does, as one of another version might.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.scale_rig import Rig
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.files import replace
from tests.support.rig import change, node, stays_ready
from tests.support.strict_envoy import REFUSED, always_strict

WITH_RULE, OTHER = config.with_rule(config.FEW)[:2]
USED = (WITH_RULE, OTHER)

FOREIGN = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: stranger}}
spec:
  hosts: [{host}]
  http:
  - headers:
      {headers}
    match:
    - uri: {uri}
    route: [{{destination: {{host: s00000.scale.svc.cluster.local}}}}]
"""
CERTIFICATE = FOREIGN.format(
    name="cert",
    host="shop.example.com",
    headers='request: {set: {x-cert: "BEGIN%20CERT%0AMII"}}',
    uri="{prefix: /}",
)
BLOCK = FOREIGN.format(
    name="block",
    host="block.example.com",
    headers="request:\n        set:\n          x-block: |\n            a\n            b",
    uri="{prefix: /}",
)


def foreign(name: str, value: int, uri: str = "{prefix: /}") -> str:
    """A rule of a stranger: answers carry the value."""
    headers = f'response: {{set: {{{config.CHANGED}: "{value}"}}}}'
    return FOREIGN.format(name=name, host=f"{name}.example.com", headers=headers, uri=uri)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"TIDEGATE_ENVOY": str(always_strict(tmp_path_factory.mktemp("envoy")))}


@pytest.fixture(scope="module")
def rig(strict: dict[str, str]) -> Iterator[Rig]:
    with node(**strict) as made:
        for number in USED:
            change(made, number, 1)
        yield made


@pytest.fixture
def rules(rig: Rig) -> Iterator[Path]:
    """The directory of rules; a stranger's are gone afterwards."""
    directory = rig.work / "config" / "rules"
    yield directory
    for path in directory.glob("stranger-*.yaml"):
        path.unlink()
    eventually(lambda: not rig.status()["envoy"]["xds"]["nacks"], "nothing is refused any more")


def restart(rig: Rig, strict: dict[str, str], *, envoy: bool) -> None:
    before = rig.status()["agent"]["pid"]
    (rig.end if envoy else rig.stop_agent)()
    rig.start_agent(**strict)
    rig.wait("an agent is there", lambda status: status["agent"]["pid"] != before and status["applied"]["generation"])
    rig.wait("Envoy has answered", lambda status: status["envoy"]["xds"]["applied"] == status["applied"]["generation"])


def everything_answers(rig: Rig, unused: int) -> None:
    """What was used before, and a service that nobody has used yet."""
    watcher = rig.watcher()
    for number in (*USED, unused):
        watcher.tell(do="first", url=[config.vip(number), config.PORT, config.host(number)])
        watcher.answer()


def said(rig: Rig, number: int, host: str, value: int) -> None:
    """Until a request for a host at the address of a service gets the value."""
    watcher = rig.watcher()
    watcher.tell(do="until", url=[config.vip(number), config.PORT, host], header=config.CHANGED, value=str(value))
    assert watcher.answer() == {"ready": True}
    watcher.answer()


def refused_rules(rig: Rig) -> set[str]:
    return {origin["name"] for nack in rig.status()["envoy"]["xds"]["nacks"] for origin in nack["origins"]}


@pytest.mark.case("A1", "A2")
def test_rules_with_a_certificate_and_a_block_are_refused_with_their_line_and_nobody_notices(
    rig: Rig, rules: Path, strict: dict[str, str]
) -> None:
    (rules / "stranger-cert.yaml").write_text(CERTIFICATE)
    (rules / "stranger-block.yaml").write_text(BLOCK)

    def told() -> set[tuple[str, int]]:
        return {(Path(str(p["file"])).name, int(p["line"])) for p in rig.status()["config"]["problems"]}

    with stays_ready(rig):
        eventually(
            lambda: told() == {("stranger-cert.yaml", 8), ("stranger-block.yaml", 10)}, "named, with their lines"
        )
        for value, number in enumerate(USED, 10):
            change(rig, number, value)
    restart(rig, strict, envoy=True)
    everything_answers(rig, 5)
    change(rig, OTHER, 12)
    assert rig.status()["envoy"]["xds"]["nacks"] == []


@pytest.mark.case("A1", "A2")
def test_what_only_envoy_refuses_is_missing_alone_also_after_restarts(
    rig: Rig, rules: Path, strict: dict[str, str]
) -> None:
    replace(rules / "stranger-odd.yaml", foreign("odd", 1, f"{{regex: '{REFUSED}'}}"))
    with stays_ready(rig):
        eventually(lambda: refused_rules(rig) == {"odd"}, "it is named")
        (rules / "stranger-good.yaml").write_text(foreign("good", 20))
        for value, number in enumerate(USED, 21):
            change(rig, number, value)
            said(rig, number, "good.example.com", 20)
        everything_answers(rig, 6)
    for unused, envoy in ((7, False), (8, True)):
        restart(rig, strict, envoy=envoy)
        everything_answers(rig, unused)
        said(rig, OTHER, "good.example.com", 20)
        change(rig, OTHER, 22 + unused)
        eventually(lambda: refused_rules(rig) == {"odd"}, "it is named still")


@pytest.mark.case("A2")
def test_the_version_before_a_refused_one_serves_also_after_agent_and_envoy_have_started_anew(
    rig: Rig, rules: Path, strict: dict[str, str]
) -> None:
    path = rules / "stranger-odd.yaml"
    replace(path, foreign("odd", 30))
    said(rig, OTHER, "odd.example.com", 30)
    replace(path, foreign("odd", 31, f"{{regex: '{REFUSED}'}}"))
    eventually(lambda: refused_rules(rig) == {"odd"}, "it is named")
    said(rig, OTHER, "odd.example.com", 30)
    restart(rig, strict, envoy=True)
    said(rig, OTHER, "odd.example.com", 30)
    everything_answers(rig, 9)
    replace(path, foreign("odd", 32))
    said(rig, OTHER, "odd.example.com", 32)


def test_an_envoy_that_starts_anew_under_its_agent_gets_no_refused_rule(rig: Rig, rules: Path) -> None:
    replace(rules / "stranger-odd.yaml", foreign("odd", 1, f"{{regex: '{REFUSED}'}}"))
    eventually(lambda: refused_rules(rig) == {"odd"}, "it is named")
    before = rig.status()["envoy"]["pid"]
    kill(before)

    def back(status: dict[str, Any]) -> bool:
        envoy = status["envoy"]
        return bool(envoy["pid"] not in (0, before) and envoy["xds"]["applied"] == status["applied"]["generation"])

    rig.wait("another Envoy has answered", back)
    everything_answers(rig, 11)
    eventually(lambda: refused_rules(rig) == {"odd"}, "it is named still")
