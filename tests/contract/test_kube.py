"""What the cluster source relies on of an API server: of the small one that unit tests use, and of a real one where
TIDEGATE_TEST_KUBECONFIG names it (`make test-kube`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.eventually import HANG_SECONDS
from tests.support.kube.cluster import Cluster, cluster, kinds_of_clusters
from tests.support.kube.following import following
from tests.support.kube.objects import crd, endpoint, endpoint_slice, secret, service

from tidegate.ca.cluster import ClusterCallers
from tidegate.config.sources.kube.decode import bookmark
from tidegate.config.sources.kube.resources import Resource
from tidegate.config.sources.kube.resources import secret as secret_resource
from tidegate.config.sources.kube.server import ApiServer
from tidegate.config.sources.kube.stream import Event, Lines, RefusedError, event, page
from tidegate.errors import Rejected
from tidegate.model.identity import Identity
from tidegate.runtime.clock import SystemClock

LISTED = {
    "watch": "1",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
}


@pytest.fixture(params=kinds_of_clusters())
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with cluster(request.param) as found:
        yield found


@pytest.fixture
async def server(made: Cluster) -> AsyncIterator[ApiServer]:
    found = ApiServer(lambda: made.access, SystemClock(), lambda: 0.0)
    yield found
    await found.close()


class Reading:
    """A watch, event by event."""

    def __init__(self, server: ApiServer, path: str, query: dict[str, str], accept: str = "application/json") -> None:
        self._asked = (server, path, {"timeoutSeconds": "300", **query}, accept)
        self._events: asyncio.Queue[Event | Exception] = asyncio.Queue()

    async def __aenter__(self) -> Reading:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        server, path, query, accept = self._asked
        lines = Lines()
        try:
            async with server.get(path, query, accept, watch=True) as body:
                async for block in body.blocks():
                    for line in lines.feed(block):
                        self._events.put_nowait(event(line))
        except Exception as error:
            self._events.put_nowait(error)

    async def next(self) -> tuple[str, Any]:
        found = await asyncio.wait_for(self._events.get(), HANG_SECONDS)
        if isinstance(found, Exception):
            raise found
        return found.type, json.loads(bytes(found.object))

    async def listed(self) -> tuple[list[str], str]:
        """Names up to the end of the list, and how far that is."""
        names: list[str] = []
        while True:
            what, one = await self.next()
            if what == "BOOKMARK":
                mark = bookmark(json.dumps(one).encode())
                assert mark.ends_list
                return names, mark.revision
            assert what == "ADDED"
            names.append(one["metadata"]["name"])


def services(made: Cluster) -> str:
    return f"/api/v1/namespaces/{made.namespace}/services"


def headless(made: Cluster, name: str) -> dict[str, Any]:
    """Without a selector, so that no controller writes slices of it."""
    return service(name, ns=made.namespace, ip="None", selector={})


async def test_a_list_is_streamed_and_goes_on_with_changes(made: Cluster, server: ApiServer) -> None:
    await made.apply(headless(made, "a"))
    async with Reading(server, services(made), LISTED) as watch:
        names, revision = await watch.listed()
        assert names == ["a"]
        assert int(revision) > 0
        await made.apply(headless(made, "b"))
        await made.apply(service("b", 81, ns=made.namespace, ip="None", selector={}))
        await made.delete(headless(made, "a"))
        seen = [await watch.next() for _ in range(3)]
        assert [(what, one["metadata"]["name"]) for what, one in seen] == [
            ("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a"),
        ]  # fmt: skip
        revisions = [int(one["metadata"]["resourceVersion"]) for _, one in seen]
        assert int(revision) < revisions[0] < revisions[1] < revisions[2]


async def test_a_watch_begins_where_another_ended(made: Cluster, server: ApiServer) -> None:
    first = await made.apply(headless(made, "a"))
    await made.apply(headless(made, "b"))
    await made.delete(headless(made, "a"))
    since = {"watch": "1", "resourceVersion": first["metadata"]["resourceVersion"]}
    async with Reading(server, services(made), since) as watch:
        seen = [await watch.next() for _ in range(2)]
    assert [(what, one["metadata"]["name"]) for what, one in seen] == [("ADDED", "b"), ("DELETED", "a")]


async def test_a_list_at_once(made: Cluster, server: ApiServer) -> None:
    await made.apply(headless(made, "a"))
    found = page(await server.whole(services(made), {}))
    assert [json.loads(bytes(item))["metadata"]["name"] for item in found.items] == ["a"]
    assert int(found.revision) > 0
    assert found.more == ""


async def test_whose_a_token_is_and_for_whom(made: Cluster, server: ApiServer) -> None:
    token = await made.token_of("agent", "istio-ca")
    assert (await ClusterCallers(server, "istio-ca").account(token)).identity == Identity(made.namespace, "agent")
    with pytest.raises(Rejected, match=r"is nobody's|is not for audience"):
        await ClusterCallers(server, "somebody-else").account(token)
    with pytest.raises(Rejected, match="is nobody's"):
        await ClusterCallers(server, "istio-ca").account("no-token-at-all")


async def test_a_list_that_would_have_to_be_of_the_future(made: Cluster, server: ApiServer) -> None:
    query = {"resourceVersion": str(10**15), "resourceVersionMatch": "NotOlderThan"}
    with pytest.raises(RefusedError) as refused:
        await server.whole(services(made), query)
    assert refused.value.code == 504
    assert "too large resource version" in str(refused.value).lower()


async def test_metadata_alone(made: Cluster, server: ApiServer) -> None:
    await made.apply(headless(made, "a"))
    only = Resource("", "Service", "services", ("v1",), metadata_only=True)
    async with Reading(server, services(made), LISTED, only.accept(watch=True)) as watch:
        what, one = await watch.next()
    assert (what, one["kind"], sorted(one)) == ("ADDED", "PartialObjectMetadata", ["apiVersion", "kind", "metadata"])
    found = page(await server.whole(services(made), {}, only.accept(watch=False)))
    assert "spec" not in json.loads(bytes(found.items[0]))


async def test_one_object_by_its_name(made: Cluster, server: ApiServer) -> None:
    one = secret_resource(made.namespace, "mine")
    for name in ("mine", "other"):
        await made.apply(secret(name, ns=made.namespace))
    async with Reading(server, one.path("v1"), {**LISTED, "fieldSelector": one.fields}) as watch:
        assert (await watch.listed())[0] == ["mine"]
        await made.apply(secret("other", ns=made.namespace, a="Yg=="))
        await made.delete(secret("mine", ns=made.namespace))
        what, gone = await watch.next()
    assert (what, gone["metadata"]["name"]) == ("DELETED", "mine")


async def test_what_leaves_a_selection_is_deleted(made: Cluster, server: ApiServer) -> None:
    query = {**LISTED, "fieldSelector": "metadata.name=a"}
    async with Reading(server, services(made), query) as watch:
        assert (await watch.listed())[0] == []
        await made.apply(headless(made, "a"))
        assert (await watch.next())[0] == "ADDED"


async def test_who_is_not_known_and_who_may_not(made: Cluster) -> None:
    for access, code, reason in (
        (made.access.__class__(made.access.server, made.access.ca, token="x" * 20), 401, "Unauthorized"),
        (await made.nobody(), 403, "Forbidden"),
    ):
        asking = ApiServer(lambda access=access: access, SystemClock(), lambda: 0.0)
        try:
            with pytest.raises(RefusedError) as refused:
                await asking.whole(services(made), {})
            assert (refused.value.code, refused.value.reason) == (code, reason)
            with pytest.raises(RefusedError) as refused:
                async with Reading(asking, services(made), LISTED) as watch:
                    await watch.next()
            assert refused.value.code == code
        finally:
            await asking.close()


async def test_a_kind_that_is_not_there_comes_and_goes(made: Cluster, server: ApiServer) -> None:
    group = f"{made.namespace}.example.com"
    resource = Resource(group, "Thing", "things", ("v1",))
    with pytest.raises(RefusedError) as refused:
        await server.whole(resource.path("v1"), LISTED)
    assert refused.value.code == 404
    groups = json.loads(await server.whole("/apis", {}))["groups"]
    assert group not in [one["name"] for one in groups]
    await made.apply(crd(resource))
    try:
        await until_listed(server, resource)
        names = json.loads(await server.whole(f"/apis/{group}/v1", {}))["resources"]
        assert "things" in [one["name"] for one in names]
        thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": made.namespace}}
        await made.apply(thing)
        async with Reading(server, resource.path("v1"), LISTED) as watch:
            assert (await watch.listed())[0] == ["t"]
    finally:
        await made.delete(crd(resource))


async def until_listed(server: ApiServer, resource: Resource) -> None:
    for _ in range(int(HANG_SECONDS / 0.05)):
        with suppress(RefusedError):
            await server.whole(resource.path("v1"), {})
            groups = json.loads(await server.whole("/apis", {}))["groups"]
            if resource.group in [one["name"] for one in groups]:
                return
        await asyncio.sleep(0.05)  # the poll itself
    raise AssertionError("the kind does not come")


async def test_the_whole_source(made: Cluster, tmp_path: Path) -> None:
    """As an agent has it. Of a real cluster with Istio's kinds in it."""
    space = made.namespace
    await made.apply(headless(made, "web"))
    await made.apply(endpoint_slice("web-a", "web", [endpoint("10.244.0.1")], ns=space), "endpointslices")
    async with following(lambda: made.access, tmp_path, clock=SystemClock()) as one:
        await one.in_sync()
        assert one.has("Namespace", space)
        assert one.has("Service", "web")
        assert one.has("EndpointSlice", "web-a")
        await made.apply(service("web", 81, ns=space, ip="None", selector={}))
        await one.until(lambda: ports(one, space) == [81], "the change is told")
        await made.delete(headless(made, "web"))
        await one.until(lambda: ports(one, space) == [], "the service is gone")
        assert one.source.unhealthy() == []


def ports(one: Any, space: str) -> list[int]:
    return [p.port for s in one.mesh.services if s.id.namespace == space for p in s.ports]
