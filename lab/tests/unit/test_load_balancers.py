from __future__ import annotations

import asyncio

from tests.support.documents import cluster

from tidegate.model.names import ServiceName
from tidegate_lab.load_balancers import LoadBalancers

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: {type}
  selector: {{app: x}}
  ports: [{ports}]
"""


class Taken:
    """Listens nowhere; some places are somebody else's."""

    def __init__(self, *taken: tuple[str, int]) -> None:
        self.taken = set(taken)
        self.asked: list[tuple[str, int]] = []

    async def serve(self, name: ServiceName, port: int, address: str) -> asyncio.Server:
        if (address, port) in self.taken:
            raise OSError("taken")
        self.asked.append((address, port))

        async def nobody(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        return await asyncio.start_server(nobody, "127.0.0.1", 0)


def services(*texts: str) -> str:
    return "---".join(texts)


def one(name: str, *ports: int, kind: str = "LoadBalancer") -> str:
    return SERVICE.format(name=name, type=kind, ports=", ".join(f"{{name: p{p}, port: {p}}}" for p in ports))


async def test_each_service_has_an_address_with_its_own_ports() -> None:
    places = Taken()
    balancers = LoadBalancers(places.serve)
    await balancers.follow(
        cluster(services(one("a", 80, 443), one("b", 80), one("c", 80, kind="ClusterIP"))).services()
    )
    assert {name.name: str(address) for name, address in balancers.addresses.items()} == {
        "a": "127.88.0.1",
        "b": "127.88.0.2",
    }
    before = dict(balancers.addresses)
    await balancers.follow(cluster(services(one("a", 80, 443), one("b", 80))).services())
    assert balancers.addresses == before
    assert len(places.asked) == 3, "what did not change is not opened again"
    await balancers.follow(cluster(one("b", 80, 81)).services())
    assert [str(address) for address in balancers.addresses.values()] == ["127.88.0.2"], "it stays where it was"
    balancers.close()
    assert not balancers.addresses


async def test_another_labs_address_is_left_alone() -> None:
    balancers = LoadBalancers(Taken(("127.88.0.1", 443)).serve)
    await balancers.follow(cluster(one("a", 80, 443)).services())
    assert [str(address) for address in balancers.addresses.values()] == ["127.88.0.2"]
    balancers.close()
