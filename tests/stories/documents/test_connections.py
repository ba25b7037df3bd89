"""Documents about connections that are no HTTP: a real Redis with as many clients as it may have, and routes of TCP."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import Lab
from tests.support.outside import external_address

if TYPE_CHECKING:
    from tests.stories.documents.conftest import Given

REDIS = "myredissrv.prod"
# Document 17's gateway has no such port.
MONGO_GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: my-gateway}
spec:
  selector: {app: my-gateway-controller}
  servers: [{port: {number: 27017, name: mongo, protocol: MONGO}, hosts: ["*"]}]
"""


def names(lab: Lab) -> dict[str, str]:
    """NAMESPACE/NAME of each pod by its addresses."""
    return {ip: name for name, row in lab.pods().items() for ip in row["ips"]}


@pytest.mark.document("03-destinationrule-bookinfo-redis")
@pytest.mark.api(
    *("TrafficPolicy.connectionPool", "ConnectionPoolSettings.tcp"),
    *("ConnectionPoolSettings.TCPSettings.maxConnections", "ConnectionPoolSettings.TCPSettings.connectTimeout"),
)
def test_redis_has_a_hundred_clients_and_is_given_up_when_it_does_not_answer(given: Given, lab: Lab) -> None:
    given("03-destinationrule-bookinfo-redis")

    def redis(*command: str) -> str:
        done = lab.exec("client", "/usr/bin/redis-cli", "-h", REDIS, *command, check=False)
        return done.stdout.strip() or done.stderr.strip()

    def clients(count: int) -> int:
        answered: int = lab.probe("client", "ping", REDIS, "6379", "--count", str(count))["answered"]
        return answered

    assert redis("set", "book", "Die Blechtrommel") == "OK"
    assert redis("get", "book") == "Die Blechtrommel"
    eventually(lambda: clients(100) == 100, "a hundred at once, when those before are gone")
    eventually(lambda: clients(101) == 100, "and not one more")

    def late() -> float:
        return lab.metric("tidegate_fastpath_closed_total", reason="connect_timeout")

    before = late()
    addresses = lab.pods()["default/client"]["ips"]
    silence = "; ".join(f"ip route $0 blackhole {address}" for address in addresses)  # for answers to that client
    lab.exec("redis", "sh", "-ec", silence, "add", namespace="prod")
    try:
        assert "PONG" not in redis("ping")
        eventually(lambda: late() > before, "the fast path gave up")
    finally:
        lab.exec("redis", "sh", "-ec", silence, "del", namespace="prod")
    assert redis("ping") == "PONG"


@pytest.mark.document("19-virtualservice-bookinfo-mongo")
@pytest.mark.api("VirtualService.gateways", "VirtualService.tcp", "TCPRoute.match", "L4MatchAttributes.port")
def test_what_comes_to_a_port_of_the_gateway_reaches_mongo_and_the_mesh_has_no_such_rule(
    given: Given, lab: Lab
) -> None:
    given(MONGO_GATEWAY, "19-virtualservice-bookinfo-mongo")
    address = external_address(lab, "my-gateway-controller")
    with socket.create_connection((address, 27017), HANG_SECONDS) as outside:
        outside.sendall(b"who\n")
        seen = json.loads(outside.makefile().readline())
    known = names(lab)
    assert (known[seen["local"]], seen["port"]) == ("prod/mongo", 5555)
    assert known[lab.dial("client", "mongosvr.prod", 27017)["server"]["local"]] == "prod/mongosvr"


@pytest.mark.document("43-virtualservice-bookinfo-mongo")
@pytest.mark.api("VirtualService.tcp", "TCPRoute.match", "TCPRoute.route", "L4MatchAttributes.port", "Destination.port")
def test_connections_to_a_port_go_to_another_port_of_another_service(given: Given, lab: Lab) -> None:
    known = names(lab)

    def reached(port: int) -> tuple[str, int]:
        seen = lab.dial("client", "mongo.prod", port)["server"]
        return known[seen["local"]], seen["port"]

    assert reached(27017) == ("prod/mongo", 27017)
    given("43-virtualservice-bookinfo-mongo")
    assert [reached(27017) for _ in range(2)] == [("backup/mongo", 5555)] * 2
    assert reached(5555) == ("prod/mongo", 5555), "another port has no rule"
