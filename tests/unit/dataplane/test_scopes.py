"""A pod that gets or loses a Sidecar finds what it may see at each moment in between."""

from __future__ import annotations

from ipaddress import ip_address

from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, sandbox

from tidegate.model.mesh import Mesh
from tidegate.model.plan.kernel import DestinationKey

SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  egress: [{hosts: [./*]}]
"""
COOKIE = 42


def world(*documents: str) -> Mesh:
    return config_of(
        ENROLLED,
        service("db", "tcp:5432", ips="10.96.0.6"),
        service("cart", "tcp:80", ips="10.96.0.7", namespace="shop"),
        pod("db-1", "app: db", "10.0.0.3"),
        pod("cart-1", "app: cart", "10.0.0.4", namespace="shop"),
        pod("client", "app: client"),
        *documents,
    )


def sees(node: Node, address: str, port: int) -> bool:
    """What the client's next connect() finds."""
    row = node.tables.rows[COOKIE]
    return DestinationKey(ip_address(address), port, scope=row.scope) in node.tables.dests


async def test_what_stays_visible_is_there_after_each_write() -> None:
    node = Node(world(), sandbox("client", COOKIE, "10.0.0.1"))
    async with node.running():
        blind: list[str] = []

        def look(call: str) -> None:
            if not sees(node, "10.96.0.6", 5432):
                blind.append(call)

        assert sees(node, "10.96.0.7", 80)
        node.tables.slow = look
        await node.configure(world(SIDECAR))
        assert node.tables.rows[COOKIE].scope
        assert not sees(node, "10.96.0.7", 80)
        await node.configure(world())
        assert node.tables.rows[COOKIE].scope == 0
        assert sees(node, "10.96.0.7", 80)
        look("at the end")
        assert blind == []
        assert not [key for key in node.tables.dests if key.scope], "nobody has the scope any more"


def chosen(name: str, hosts: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: {name}}}}}
  egress: [{{hosts: [{hosts}]}}]
"""


def shared(first: str, *documents: str) -> Mesh:
    """Pods `first` and `second` have Sidecars of their own, which may show them the same."""
    pods = (pod(name, f"app: {name}") for name in ("first", "second"))
    far = service("far", "tcp:80", ips="10.96.0.8", namespace="far", selector="app: far")
    server = pod("far-1", "app: far", "10.0.0.5", namespace="far")
    return world(*pods, far, server, chosen("first", first), chosen("second", "./*, shop/*"), *documents)


async def test_who_shared_a_scope_sees_its_services_while_the_other_comes_to_see_fewer() -> None:
    """The scope stays the other's, under the same number: its rows may not go before the pod has a scope of its own."""
    node = Node(shared("./*, shop/*"), sandbox("first", 1, "10.0.0.6"), sandbox("second", 2, "10.0.0.7"))
    async with node.running():
        before = node.tables.rows[1].scope
        assert before == node.tables.rows[2].scope != 0
        blind: list[str] = []

        def look(call: str) -> None:
            scope = node.tables.rows[2].scope
            if DestinationKey(ip_address("10.96.0.7"), 80, scope=scope) not in node.tables.dests:
                blind.append(call)

        node.tables.slow = look
        await node.configure(shared("./*"))
        look("at the end")
        assert blind == []
        assert (node.tables.rows[1].scope, node.tables.rows[2].scope != before) == (before, True)
        assert DestinationKey(ip_address("10.96.0.7"), 80, scope=before) not in node.tables.dests
