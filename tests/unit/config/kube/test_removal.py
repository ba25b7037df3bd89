"""Whether an agent comes again: what the API server says of its DaemonSet, and what is made of no answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tidegate.config.sources.kube.access import Access
from tidegate.config.sources.kube.removal import why_removed

GONE_AT = {"deletionTimestamp": "2026-11-27T12:00:00Z"}


class Cluster:
    """Answers that a test gives, by the last part of the path."""

    def __init__(self) -> None:
        self.status = 200
        self.metadata: dict[str, dict[str, str]] = {"tidegate": {}, "tidegate-system": {}}
        self.asked: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        name = request.path.rpartition("/")[2]
        kind = "DaemonSet" if "daemonsets" in request.path else "Namespace"
        body = {"kind": kind, "metadata": {"name": name, **self.metadata[name]}}
        if self.status != 200:
            body = {"kind": "Status", "code": self.status, "reason": "ByOrder", "message": "by order of a test"}  # type: ignore[dict-item]
        return web.json_response(body, status=self.status)

    async def why(self) -> str:
        return await why_removed(lambda: Access(f"http://127.0.0.1:{self.port}"), "tidegate-system", "tidegate")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


async def test_an_agent_that_is_replaced_leaves_everything(cluster: Cluster) -> None:
    assert await cluster.why() == ""
    assert cluster.asked == [
        "/apis/apps/v1/namespaces/tidegate-system/daemonsets/tidegate",
        "/api/v1/namespaces/tidegate-system",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tidegate", "DaemonSet tidegate is being deleted"),
        ("tidegate-system", "Namespace tidegate-system is being deleted"),
    ],
)
async def test_who_is_being_deleted_is_removed(cluster: Cluster, name: str, why: str) -> None:
    cluster.metadata[name] = GONE_AT
    assert await cluster.why() == why


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "account is not known"), (403, "may not look at it"), (404, "is not there any more")],
)
async def test_account_and_rights_may_go_before_the_daemonset(cluster: Cluster, status: int, why: str) -> None:
    cluster.status = status
    assert why in await cluster.why()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_who_gets_no_answer_leaves_everything(cluster: Cluster, status: int) -> None:
    cluster.status = status
    assert await cluster.why() == ""


async def test_where_no_server_is_everything_stays(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.port = 1
    assert await cluster.why() == ""
    assert "cannot be asked, so all is left in place" in caplog.text
