"""What a cluster says of callers, and what is made of a cluster that says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.clock import ManualClock
from tests.support.kube.fake_api import FakeApi, Refusal
from tests.support.kube.following import access_to

from tidegate.ca.cluster import ClusterCallers
from tidegate.ca.tokens import Account
from tidegate.config.sources.kube.server import ApiServer
from tidegate.errors import Rejected, Transient
from tidegate.model.identity import Identity

AGENT = Identity("mesh", "agent")
POD = {"pod-name": "agent-1", "pod-uid": "u1", "node-name": "n1"}


def review(username: str = "system:serviceaccount:mesh:agent", **more: Any) -> dict[str, Any]:
    extra = {f"authentication.kubernetes.io/{key}": [value] for key, value in POD.items()}
    return {"authenticated": True, "user": {"username": username, "extra": extra}, "audiences": ["istio-ca"], **more}


def pod(namespace: str, name: str, account: str = "", node: str = "n1", phase: str = "Running") -> dict[str, Any]:
    spec = {"nodeName": node, **({"serviceAccountName": account} if account else {})}
    meta = {"namespace": namespace, "name": name, "uid": f"uid-of-{name}"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": phase}}


@asynccontextmanager
async def callers(patience: float = 5.0) -> AsyncIterator[tuple[FakeApi, ClusterCallers]]:
    async with FakeApi() as api:
        server = ApiServer(access_to(api.address, api.token), ManualClock(), lambda: 0.0)
        try:
            yield api, ClusterCallers(server, "istio-ca", patience)
        finally:
            await server.close()


async def test_a_token_is_whose_the_cluster_says() -> None:
    async with callers() as (api, cluster):
        api.reviewed["good"] = review()
        assert await cluster.account("good") == Account(AGENT, "agent-1", "u1", "n1")
        api.reviewed["older"] = review(user={"username": "system:serviceaccount:mesh:agent"})
        assert await cluster.account("older") == Account(AGENT)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (None, "is nobody's"),
        (review(authenticated=False), "is nobody's"),
        (review(authenticated="yes"), "is nobody's"),
        (review(audiences=["other"]), "is nobody's"),
        (review("system:node:n1"), "is not of a service account"),
        (review("admin"), "is not of a service account"),
    ],
)
async def test_every_other_token_is_nobodys(status: dict[str, Any] | None, why: str) -> None:
    async with callers() as (api, cluster):
        if status is not None:
            api.reviewed["token"] = status
        with pytest.raises(Rejected, match=why):
            await cluster.account("token")


async def test_a_server_that_does_not_look_at_audiences_is_not_believed() -> None:
    class Old:
        async def whole(self, path: str, query: object) -> bytes:
            raise NotImplementedError

        async def create(self, path: str, document: bytes) -> bytes:
            return b'{"status": {"authenticated": true, "user": {"username": "system:serviceaccount:mesh:agent"}}}'

    with pytest.raises(Rejected, match="is not for audience"):
        await ClusterCallers(Old(), "istio-ca").account("token")


async def test_the_node_of_a_pod_is_where_that_very_pod_is() -> None:
    async with callers() as (api, cluster):
        api.apply(pod("mesh", "agent-1"))
        assert await cluster.node_of(Account(AGENT, "agent-1", "uid-of-agent-1")) == "n1"
        assert await cluster.node_of(Account(AGENT, "agent-1", "the one before")) == ""
        assert await cluster.node_of(Account(AGENT, "agent-2", "x")) == ""
        assert await cluster.node_of(Account(AGENT)) == ""


async def test_who_runs_on_a_node_is_who_has_a_pod_there_that_has_not_ended() -> None:
    async with callers() as (api, cluster):
        api.apply(
            pod("shop", "cart-1", "cart"),
            pod("shop", "job-1", "job", phase="Succeeded"),
            pod("shop", "job-2", "failed", phase="Failed"),
            pod("shop", "plain"),
            pod("shop", "far", "far", node="n2"),
            pod("other", "their", "their"),
            pod("shop", "soon", "soon", phase="Pending"),
        )
        names = ("cart", "job", "failed", "default", "far", "their", "soon", "nobody")
        found = {name for name in names if await cluster.runs("n1", Identity("shop", name))}
        assert found == {"cart", "default", "soon"}
        api.delete(pod("shop", "cart-1", "cart"))
        assert not await cluster.runs("n1", Identity("shop", "cart")), "as new as the question"


async def test_a_cluster_that_does_not_answer_is_away_and_says_nothing_of_anybody() -> None:
    async with callers() as (api, cluster):
        api.denied = {"pods"}
        with pytest.raises(Transient, match="403"):
            await cluster.runs("n1", AGENT)
        api.everything = Refusal(500, "InternalError", "by order")
        with pytest.raises(Transient, match="500"):
            await cluster.account("token")
        await api.stop()
        with pytest.raises(Transient, match="is away"):
            await cluster.runs("n1", AGENT)
    async with callers(patience=0.0) as (_, cluster):
        with pytest.raises(Transient, match="no answer in time"):
            await cluster.account("token")
