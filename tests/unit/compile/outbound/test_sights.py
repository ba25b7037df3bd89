"""Views of a large mesh: who sees the same shares rows, and a change costs what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.configs import Texts, pod, sandbox, service, virtual_service

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.facts import Facts, join
from tidegate.compile.outbound import sights
from tidegate.compile.visibility import sees_service
from tidegate.config.store import Store
from tidegate.dataplane.changes import changes
from tidegate.model.plan import Plan

TEAMS, EACH = 6, 20
PRIVATE = "networking.istio.io/exportTo: '.'"


def namespace(team: int) -> str:
    return f"""
apiVersion: v1
kind: Namespace
metadata: {{name: team-{team}, labels: {{istio-injection: enabled}}}}
"""


def own(team: int, number: int, port: int = 80) -> str:
    name = f"s{number}"
    return service(
        name, f"http:{port}", ips=f"10.96.{team}.{number + 1}", namespace=f"team-{team}", selector="app: any"
    )


def private(text: str) -> str:
    return text.replace("metadata: {", f"metadata: {{annotations: {{{PRIVATE}}}, ", 1)


def sidecar(team: int, hosts: str = "./*") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: team-{team}}}
spec: {{egress: [{{hosts: ["{hosts}"]}}]}}
"""


def files(**more: str) -> dict[str, str]:
    found = {}
    for team in range(TEAMS):
        pods = (
            pod(name, f"app: {name}", f"10.244.{team}.{number}", namespace=f"team-{team}")
            for number, name in enumerate(("any", "client"))
        )
        found[f"team-{team}"] = "---".join([namespace(team), *pods])
        found |= {f"{team}-{number}": own(team, number) for number in range(EACH)}
    return {**found, **more}


class Node:
    """One that has a client of each team."""

    def __init__(self) -> None:
        self.source, self.store, self.compiler = Texts(), Store(), Compiler()
        self.facts: Facts | None = None
        self.plan = Plan(0)

    def become(self, found: Mapping[str, str]) -> Plan:
        mesh = self.store.apply(0, self.source.say(found))
        assert not [str(problem) for problem in mesh.problems if problem.is_error]
        self.facts = join(mesh, [client(team) for team in range(TEAMS)], self.facts)
        self.plan = self.compiler.compile(self.facts)
        assert self.plan.destinations == compile_plan(join(mesh, self.facts.sandboxes)).destinations, "as from nothing"
        return self.plan


def client(team: int) -> Any:
    return sandbox("client", f"10.244.{team}.1", namespace=f"team-{team}", cookie=team + 1)


def scopes(plan: Plan) -> list[int]:
    return [one.scope for one in plan.pods]


def seen(plan: Plan, team: int) -> int:
    """How many services the client of a team finds."""
    scope = plan.pods[team].scope
    return sum(row.scope == scope and row.port > 0 for row in plan.destinations)


def test_who_sees_the_same_has_the_same_rows() -> None:
    plan = Node().become(files(**{"0-0": private(own(0, 0))}))
    assert scopes(plan)[0] == 0, "it sees everything"
    assert len(set(scopes(plan)[1:])) == 1, "a service of one team costs one copy, and not one for each other team"
    assert 0 not in scopes(plan)[1:]
    assert [seen(plan, team) for team in range(TEAMS)] == [TEAMS * EACH] + [TEAMS * EACH - 1] * (TEAMS - 1)


def test_who_sees_something_else_again_leaves_the_others_where_they_are() -> None:
    node = Node()
    before = scopes(node.become(files(**{"0-0": private(own(0, 0))})))
    after = node.become(files(**{"0-0": private(own(0, 0)), "3-0": private(own(3, 0))}))
    assert seen(after, 3) == TEAMS * EACH - 1
    assert seen(after, 4) == TEAMS * EACH - 2
    assert [scope for team, scope in enumerate(scopes(after)) if team in (1, 2, 4, 5)] == [before[1]] * 4
    assert scopes(after)[3] not in (0, before[1])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of services about which a view was asked anew."""
    found: list[str] = []

    def counted(read: Any, source: Any, asked: Any, port: int) -> bool:
        found.append(asked.id.fqdn)
        return sees_service(read, source, asked, port)

    monkeypatch.setattr(sights, "sees_service", counted)
    return found


def test_a_change_is_looked_at_once_for_each_view(looks: list[str]) -> None:
    node = Node()
    hidden = {f"sidecar-{team}": sidecar(team) for team in range(TEAMS)}
    node.become(files(**hidden))
    from_nothing = TEAMS * TEAMS * EACH
    assert len(looks) == 2 * from_nothing
    looks.clear()
    before = node.plan
    after = node.become(files(**hidden, **{"2-7": own(2, 7, port=81)}))
    assert len(looks) == TEAMS + from_nothing, "of one service, and those of who began anew beside it"
    told = changes(before, after).destinations
    assert [len(told.put), len(told.gone)] == [2, 2], "everybody's row and that of the team"


def test_a_rule_that_leads_somewhere_is_looked_at_where_it_leads(looks: list[str]) -> None:
    node = Node()
    hidden = {f"sidecar-{team}": sidecar(team) for team in range(TEAMS)}
    rule = virtual_service(
        "v", "s0", "- route: [{destination: {host: s5.team-1.svc.cluster.local}}]", namespace="team-0"
    )
    node.become(files(**hidden))
    assert seen(node.plan, 0) == EACH
    looks.clear()
    node.become(files(**hidden, rule=rule))
    assert seen(node.plan, 0) == EACH + 1
    assert looks[:TEAMS] == ["s5.team-1.svc.cluster.local"] * TEAMS
    node.become(files(**hidden))
    assert [seen(node.plan, team) for team in range(TEAMS)] == [EACH] * TEAMS


def test_another_sidecar_is_looked_at_for_its_view_alone(looks: list[str]) -> None:
    node = Node()
    hidden = {f"sidecar-{team}": sidecar(team) for team in range(TEAMS)}
    node.become(files(**hidden))
    looks.clear()
    node.become(files(**{**hidden, "sidecar-4": sidecar(4, "team-5/*")}))
    assert len(looks) == TEAMS * EACH + TEAMS * TEAMS * EACH
    assert seen(node.plan, 4) == EACH
    node.become(files())
    assert scopes(node.plan) == [0] * TEAMS
