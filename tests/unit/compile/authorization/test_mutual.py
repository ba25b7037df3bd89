"""What PeerAuthentications become: which one counts, and where a client needs an identity."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, Texts, config_of, pod, sandbox

from tidegate.compile.authorization.in_force import Policies
from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.authorization import decide
from tidegate.compile.facts import Facts, join
from tidegate.config.store import load_once
from tidegate.model.authorization import PolicySubject, PolicyVerdict
from tidegate.model.identity import Identity
from tidegate.model.net import parse_ip
from tidegate.model.policy import MutualTls

SERVER = pod("db", "app: db", "10.244.0.2")
STATIC = "istio-system/istio_converted_static_strict"
OWN = "default/converted_peer_authentication_own"


def authentication(name: str, spec: str, namespace: str = "default", created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}{stamp}}}
spec: {{{spec}}}
"""


def mode(said: str) -> str:
    return f"mtls: {{mode: {said}}}"


def chosen(spec: str, name: str = "own", label: str = "app: db") -> str:
    return authentication(name, f"selector: {{matchLabels: {{{label}}}}}, {spec}")


def facts(*texts: str) -> Facts:
    return join(config_of(ENROLLED, SERVER, *texts), (sandbox("db", "10.244.0.2"),))


def refused(found: Facts) -> tuple[bool, bool, bool]:
    """Whether a client without an identity is refused at ports 80, 8080 and 9090; with one it never is."""
    [policies] = [compile_plan(found).policies]
    of = [policies.policies[n - 1] for n in policies.workloads[1]]

    def at(port: int, identity: Identity | None) -> bool:
        subject = PolicySubject(parse_ip("10.9.9.9"), parse_ip("10.244.0.2"), port, identity, "cluster.local")
        return decide(of, subject).verdict is PolicyVerdict.DENY_BY_POLICY

    assert not any(at(port, Identity("a", "b")) for port in (80, 8080, 9090))
    plain = at(80, None), at(8080, None), at(9090, None)
    [server] = found.clients.values()
    asked = Policies(found.mesh).asked(server)
    assert plain == tuple(asked.at(port) is MutualTls.STRICT for port in (80, 8080, 9090)), "what explain says holds"
    return plain


MESH = authentication("mesh", mode("STRICT"), "istio-system")
NONE, ALL = (False, False, False), (True, True, True)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), NONE),
        ((MESH,), ALL),
        ((authentication("ns", mode("STRICT")),), ALL),
        ((authentication("ns", mode("STRICT"), "other"),), NONE),
        ((MESH, authentication("ns", mode("PERMISSIVE"))), NONE),
        ((MESH, authentication("ns", mode("DISABLE"))), NONE),
        ((MESH, authentication("ns", mode("UNSET"))), ALL),
        ((MESH, authentication("ns", "")), ALL),
        ((MESH, chosen(mode("PERMISSIVE"))), NONE),
        ((MESH, chosen(mode("PERMISSIVE"), label="app: web")), ALL),
        ((chosen(mode("STRICT")),), ALL),
        ((MESH, chosen(mode("UNSET"))), ALL),
        ((MESH, chosen(f"{mode('STRICT')}, portLevelMtls: {{8080: {{mode: PERMISSIVE}}}}")), (True, False, True)),
        ((chosen(f"{mode('STRICT')}, portLevelMtls: {{8080: {{mode: DISABLE}}}}"),), (True, False, True)),
        ((MESH, chosen("portLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: STRICT}}")), (True, False, True)),
        ((MESH, chosen("portLevelMtls: {8080: {mode: DISABLE}, 9090: {mode: DISABLE}}")), (True, False, False)),
        ((MESH, chosen("portLevelMtls: {8080: {mode: STRICT}}")), ALL),
        ((MESH, chosen("portLevelMtls: {8080: {mode: UNSET}}")), ALL),
        ((chosen("portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: STRICT}}"),), (False, True, True)),
        (
            (MESH, authentication("ns", mode("UNSET")), chosen("portLevelMtls: {8080: {mode: PERMISSIVE}}")),
            (True, False, True),
        ),
        (
            (MESH, authentication("ns", mode("PERMISSIVE")), chosen("portLevelMtls: {8080: {mode: STRICT}}")),
            (False, True, False),
        ),
        # In the root namespace a selector counts for nothing.
        ((authentication("own", f"selector: {{matchLabels: {{app: db}}}}, {mode('STRICT')}", "istio-system"),), NONE),
    ],
)
def test_where_a_client_needs_an_identity(texts: tuple[str, ...], expected: tuple[bool, bool, bool]) -> None:
    assert refused(facts(*texts)) == expected


def test_the_oldest_counts() -> None:
    old = authentication("z-old", mode("STRICT"), created="2024-01-01T00:00:00Z")
    new = authentication("a-new", mode("PERMISSIVE"), created="2025-01-01T00:00:00Z")
    assert refused(facts(new, old)) == ALL
    old, new = chosen(mode("PERMISSIVE"), "first"), chosen(mode("STRICT"), "second")
    assert refused(facts(old, new)) == NONE  # without a date: as they are written


@pytest.mark.parametrize(
    ("texts", "listed"),
    [
        ((MESH,), [STATIC]),
        ((MESH, chosen(f"{mode('STRICT')}, portLevelMtls: {{8080: {{mode: DISABLE}}}}")), [OWN]),
        ((MESH, chosen("portLevelMtls: {8080: {mode: STRICT}}")), [STATIC]),
        ((chosen("portLevelMtls: {8080: {mode: STRICT}}"),), [OWN]),
        ((chosen("portLevelMtls: {8080: {mode: PERMISSIVE}}"),), []),
    ],
)
def test_a_workload_lists_one_policy_at_most(texts: tuple[str, ...], listed: list[str]) -> None:
    """Several could not: whatever any DENY policy denies is denied, so none could spare a port."""
    table = compile_plan(facts(*texts)).policies
    assert [table.policies[n - 1].key for n in table.workloads[1]] == listed


def test_nothing_is_shown_where_nobody_needs_an_identity() -> None:
    texts = [authentication("mesh", mode("PERMISSIVE"), "istio-system"), authentication("ns", mode("DISABLE"))]
    assert Policies(config_of(*texts)).all() == ()


def test_one_for_the_same_workloads_and_one_for_none_are_named() -> None:
    first, second = chosen(mode("STRICT"), "first"), chosen(mode("DISABLE"), "second")
    none = authentication("none", f"selector: {{matchLabels: {{app: db}}}}, {mode('STRICT')}", "istio-system")
    others = [chosen(mode("STRICT"), "web", "app: web"), MESH]
    mesh = load_once([Texts().say({f"{n}.yaml": text for n, text in enumerate([first, second, none, *others])})])
    found = {(p.code, p.about.name): p.message for p in mesh.problems if p.code != "TG0823"}
    assert set(found) == {("TG0820", "second"), ("TG0803", "none")}
    assert "default/first" in found["TG0820", "second"]


def test_the_root_namespace_is_the_operators_choice() -> None:
    root = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    root += "data: {mesh: 'rootNamespace: top'}\n"
    assert refused(facts(root, authentication("mesh", mode("STRICT"), "top"))) == ALL
    assert refused(facts(root, MESH)) == NONE
