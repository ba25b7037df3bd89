"""A cluster as a source: what is told, and what when the API server is slow, broken, older, forgetful or not there."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.eventually import HANG_SECONDS
from tests.support.kube.fake_api import FakeApi, Refusal
from tests.support.kube.following import Following, WallClock, access_to, following
from tests.support.kube.objects import (
    crd,
    crds,
    endpoint,
    endpoint_slice,
    namespace,
    node,
    pod,
    secret,
    service,
    virtual_service,
)
from tests.support.kube.told import resource_of

from tidegate.config.follow import follow
from tidegate.config.last_good import LastGood
from tidegate.config.sources.base import ConfigSource
from tidegate.config.sources.files import FileSource
from tidegate.config.sources.kube.access import Access, AccessSource, kubeconfig
from tidegate.config.sources.kube.resources import RESOURCES
from tidegate.config.sources.kube.source import KubeSource
from tidegate.model.mesh import Mesh
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.latest import Latest

WEB = (service("web"), endpoint_slice("web-a", "web", [endpoint("10.244.0.1")]), pod("a", "10.244.0.1", app="web"))


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as api:
        api.apply(*crds(), namespace("default"), node("node1"), *WEB)
        yield api


def access(api: FakeApi) -> AccessSource:
    return lambda: Access(api.address, token=api.token)


async def caught_up(one: Following, api: FakeApi, name: str) -> None:
    """What was written before a Service of this name was is known."""
    api.apply(service(name, ip="10.96.0.7"))
    await one.until(lambda: one.has("Service", name), f"service {name} is told", turn=1.0)


async def test_all_of_it_and_then_changes(api: FakeApi) -> None:
    api.apply(virtual_service("v", "web", "web"))
    async with following(access(api)) as one:
        await one.in_sync()
        assert len(one.batches) == 1
        assert [one.names(k) for k in ("Namespace", "Node", "Pod", "VirtualService")] == [
            ["default"], ["node1"], ["a"], ["v"],
        ]  # fmt: skip
        api.apply(service("new"), pod("a", "10.244.0.2", app="web"))
        api.delete(WEB[1])
        await one.until(lambda: not one.has("EndpointSlice", "web-a") and one.has("Service", "new"), "the changes")
        assert one.deleted() == ["EndpointSlice web-a"]
        assert one.source.status()["age_seconds"] == 0.0
        assert one.source.unhealthy() == []


async def test_nothing_is_told_before_all_kinds_are_known(api: FakeApi) -> None:
    api.refusals["endpointslices"].extend([Refusal(500)] * 3)
    async with following(access(api)) as one:
        await one.until(lambda: len(api.asked("endpointslices")) == 3, "it is asked again", turn=1.0)
        assert one.batches == []
        assert one.source.status()["in_sync"] is False
        await one.in_sync(turn=1.0)
        assert one.has("Service", "web")


async def test_what_says_the_same_is_no_news(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        api.apply({**node("node1"), "status": {"images": []}}, *WEB)
        await caught_up(one, api, "new")
        assert (one.told("Node"), one.told("Pod"), one.told("EndpointSlice"), one.told("Service")) == (1, 1, 1, 2)


async def test_of_nodes_only_metadata_is_asked_for(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        accepted = {r.path: r.headers["Accept"] for r in api.requests}
        assert "PartialObjectMetadata;" in accepted["/api/v1/nodes"]
        assert accepted["/api/v1/pods"] == "application/json"


async def test_pods_that_ended_are_gone(api: FakeApi) -> None:
    ended = pod("b", "10.244.0.2")
    ended["status"]["phase"] = "Succeeded"
    api.apply(ended)
    async with following(access(api)) as one:
        await one.in_sync()
        assert one.names("Pod") == ["a"]
        ends = pod("a", "10.244.0.1")
        ends["status"]["phase"] = "Failed"
        api.apply(ends)
        await one.until(lambda: not one.names("Pod"), "the pod is gone")


@pytest.mark.parametrize("server", ["refused", "unheard"])
async def test_a_server_that_does_not_stream_lists_is_asked_for_them(api: FakeApi, server: str) -> None:
    api.streams_lists = server
    async with following(access(api)) as one:
        await one.in_sync(turn=5.0 if server == "unheard" else 0.1)
        await one.until(lambda: len(api.asked("services")) > 2, "it watches")
        first, second, third = api.asked("services")[:3]
        assert (first.get("sendInitialEvents"), second.get("watch"), third.get("watch")) == ("true", None, "1")
        assert third["resourceVersion"] != "0"
        await caught_up(one, api, "new")
        assert one.told("Pod") == 1


async def test_who_lost_a_connection_goes_on_where_it_was(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        before = len(api.asked("services"))
        api.cut("services")
        api.delete(WEB[0])
        await one.until(lambda: not one.has("Service", "web"), "what happened meanwhile", turn=0.1)
        (again,) = api.asked("services")[before:]
        assert "sendInitialEvents" not in again
        assert one.told("Service") == 1


async def test_a_watch_that_does_not_end_in_its_time_is_given_up(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        before = len(api.asked("services"))
        asked = int(api.asked("services")[-1]["timeoutSeconds"])
        assert 300 <= asked <= 600
        assert max(waiting(one)) >= asked + 29
        await one.until(lambda: len(api.asked("services")) > before, "it is asked anew", turn=50.0)
        assert "resourceVersion" in api.asked("services")[-1]
        assert one.told("Service") == 1


async def test_a_bookmark_says_from_where(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        for number in range(5):
            api.apply(pod("busy", f"10.244.1.{number}"))
        api.bookmark("services")
        marked, before = api.revision, len(api.asked("services"))
        api.forget_history()
        api.end("services")
        await one.until(lambda: len(api.asked("services")) > before, "it watches again", turn=0.1)
        assert api.asked("services")[before].get("resourceVersion") == str(marked)
        await caught_up(one, api, "new")


@pytest.mark.parametrize("how", ["in the stream", "as an answer"])
async def test_who_was_away_for_too_long_begins_anew(api: FakeApi, how: str) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        if how == "in the stream":
            api.expire("services")
            api.delete(WEB[0])
        else:
            api.cut("services")
            api.delete(WEB[0])
            api.apply(pod("other", "10.244.0.8"))
            api.forget_history()
        await one.until(lambda: not one.has("Service", "web"), "what was deleted meanwhile", turn=0.1)
        assert api.asked("services")[-1].get("sendInitialEvents") == "true"
        await caught_up(one, api, "new")


async def test_a_line_that_is_none_is_no_end(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        api.say("services", b'{"type": "ADDED", "object": {"metadata"\n')
        await one.until(lambda: one.kind("services")["state"] == "failing", "it is named")
        await caught_up(one, api, "new")
        assert one.kind("services")["state"] == "current"


async def test_a_token_is_read_again(api: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("let-me-in")
    reads: list[str] = []

    def now() -> Access:
        reads.append(token.read_text())
        return Access(api.address, token=reads[-1])

    async with following(now) as one:
        await one.in_sync()
        api.token = "another"
        before = len(api.asked("services"))
        api.end()
        await one.until(lambda: one.kind("services")["state"] == "not logged in", "it is refused", turn=0.1)
        await one.until(lambda: len(api.asked("services")) >= before + 4, "it asks again", turn=0.1)
        assert len(reads) >= 4, "read again for each refusal, however fresh it is"
        assert one.has("Service", "web")
        await one.until(lambda: any("401" in reason for reason in one.source.unhealthy()), "it is named", turn=1.0)
        token.write_text("another")
        await caught_up(one, api, "new")
        await one.until(lambda: not one.source.unhealthy(), "all are back", turn=1.0)


async def test_a_right_that_is_taken_away_is_named_and_nothing_else_changes(api: FakeApi) -> None:
    api.apply(virtual_service("v", "web", "web"))
    async with following(access(api)) as one:
        await one.in_sync()
        api.denied.add("virtualservices")
        api.end("virtualservices")
        await one.until(lambda: one.mesh is not None and one.mesh.problems, "it is a problem", turn=0.1)
        assert one.mesh is not None
        (problem,) = one.mesh.problems
        assert problem.code == "TG0721"
        assert str(problem).startswith("error: virtualservices.networking.istio.io: may not be read (403 Forbidden: ")
        assert one.names("VirtualService") == ["v"]
        assert one.kind("virtualservices.networking.istio.io")["state"] == "denied"
        await caught_up(one, api, "new")
        api.delete(virtual_service("v", "web", "web"))
        api.denied.clear()
        await one.until(lambda: not one.names("VirtualService"), "it is read again", turn=5.0)
        await one.until(lambda: one.mesh is not None and not one.mesh.problems, "the problem is gone")


async def test_without_a_right_from_the_start_nothing_is_told(api: FakeApi) -> None:
    api.denied.add("services")
    async with following(access(api)) as one:
        await one.until(lambda: any("may" in r or "403" in r for r in one.source.unhealthy()), "it is named", turn=1.0)
        assert one.batches == []
        api.denied.clear()
        await one.in_sync(turn=5.0)


async def test_a_server_that_asks_for_patience_gets_it(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        api.refusals["services"].append(Refusal(429, "TooManyRequests", "later", (("Retry-After", "17"),)))
        before = len(api.asked("services"))
        api.end("services")
        await one.until(lambda: len(api.asked("services")) == before + 1, "it is asked", turn=0.1)
        await one.until(lambda: one.kind("services")["state"] == "failing", "it refuses")
        await one.until(lambda: any(16.9 <= w <= 17.0 for w in waiting(one)), "it waits as it was told")
        await caught_up(one, api, "new")


def waiting(one: Following) -> list[float]:
    assert isinstance(one.clock, WallClock)
    return one.clock.waiting()


async def test_while_the_server_is_away_all_stays_as_it_is(api: FakeApi) -> None:
    async with following(access(api)) as one:
        await one.in_sync()
        await api.stop()
        await one.until(lambda: one.source.status()["away"], "it is away", turn=0.1)
        await one.until(lambda: one.source.status()["age_seconds"] > 121, "time passes", turn=5.0)
        assert any("does not answer" in reason for reason in one.source.unhealthy())
        assert one.source.status()["attempts"] < 40, "one asks for all, ever more rarely"
        assert one.deleted() == []
        api.delete(WEB[2])
        await api.start()
        await one.until(lambda: one.deleted() == ["Pod a"], "what happened meanwhile", turn=5.0)
        await one.until(lambda: not one.source.status()["age_seconds"], "all kinds are back", turn=5.0)
        assert one.source.unhealthy() == []
        assert one.told("Service") == 1


async def test_a_process_that_starts_without_a_server_has_what_the_last_one_knew(api: FakeApi, tmp_path: Path) -> None:
    api.apply(virtual_service("v", "web", "web"))
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync()
        await one.until(lambda: all_written(tmp_path / "kube"), "it is written down", turn=1.0)
        api.apply(service("later"))
        api.delete(WEB[2])
        await one.until(lambda: one.has("Service", "later"), "the change")
        later = WallClock()
        await one.until(lambda: written(tmp_path / "kube", b"default/later"), "it is written down", turn=1.0)
    await api.stop()
    later.offset = 3600.0
    async with following(access(api), tmp_path / "kube", clock=later) as one:
        await one.in_sync(turn=0.1)
        assert (one.names("Service"), one.names("Pod"), one.names("VirtualService")) == (["later", "web"], [], ["v"])
        status = one.source.status()
        assert 3590 < status["age_seconds"] < 3700
        assert one.kind("services")["from_disk"] is True
        assert any("36" in reason for reason in one.source.unhealthy())
        later.offset = -7200.0
        assert one.source.status()["age_seconds"] < 100, "a clock that was set back makes nothing younger than new"
        api.delete(service("later"))
        await api.start()
        await one.until(lambda: one.deleted() == ["Service later"], "it is caught up", turn=1.0)
        await one.until(lambda: one.source.status()["age_seconds"] == 0.0, "all is fresh", turn=1.0)
        assert not one.kind("services")["from_disk"]


def all_written(directory: Path) -> bool:
    return len(list(directory.glob("*.facts"))) == len(RESOURCES)


def written(directory: Path, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in directory.glob("*.facts"))


async def test_what_is_gone_stays_until_all_kinds_are_back(api: FakeApi, tmp_path: Path) -> None:
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync()
        await one.until(lambda: all_written(tmp_path / "kube"), "it is written down", turn=1.0)
    await api.stop()
    api.delete(WEB[1])
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync(turn=0.1)
        api.refusals["services"].extend([Refusal(503)] * 2)
        await api.start()
        await one.until(lambda: len(api.asked("services")) == 2, "a kind is late", turn=1.0)
        await caught_up_by_pod(one, api)
        assert one.deleted() == []
        await one.until(lambda: one.deleted() == ["EndpointSlice web-a"], "all kinds are back", turn=1.0)


async def caught_up_by_pod(one: Following, api: FakeApi) -> None:
    api.apply(pod("new", "10.244.0.7"))
    await one.until(lambda: one.has("Pod", "new"), "what is new is told")


async def test_a_kind_that_is_refused_for_good_holds_nothing_up(api: FakeApi, tmp_path: Path) -> None:
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync()
        await one.until(lambda: all_written(tmp_path / "kube"), "it is written down", turn=1.0)
    await api.stop()
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync(turn=0.1)
        api.denied.add("virtualservices")
        api.delete(WEB[1])
        await api.start()
        await one.until(lambda: one.deleted() == ["EndpointSlice web-a"], "it is gone", turn=1.0)


async def test_facts_of_another_cluster_are_not_used(api: FakeApi, tmp_path: Path) -> None:
    async with following(access(api), tmp_path / "kube") as one:
        await one.in_sync()
        await one.until(lambda: all_written(tmp_path / "kube"), "it is written down", turn=1.0)
    async with following(access_to("http://127.0.0.1:9", "x"), tmp_path / "kube") as one:
        await one.until(lambda: one.source.status()["attempts"] > 5, "it is not there", turn=5.0)
        assert one.batches == []


async def test_kinds_that_are_not_there_are_waited_for() -> None:
    async with FakeApi() as api:
        api.apply(*WEB)
        async with following(access(api)) as one:
            await one.in_sync()
            assert "virtualservices.networking.istio.io" in one.source.status()["not_installed"]
            assert one.source.unhealthy() == []
            assert one.mesh is not None
            assert one.mesh.problems == ()
            before = len(api.requests)
            await one.until(lambda: len(api.requests) >= before + 3, "it looks again", turn=5.0)
            assert {r.path for r in api.requests[before:]} == {"/apis"}
            api.apply(crd(resource_of("VirtualService"), ["v1beta1", "v1alpha3"]))
            api.apply(virtual_service("v", "web", "web"))
            await one.until(lambda: one.names("VirtualService") == ["v"], "it is found", turn=5.0)
            assert any(r.path == "/apis/networking.istio.io/v1beta1/virtualservices" for r in api.requests)
            assert "gateways.networking.istio.io" in one.source.status()["not_installed"]


async def test_a_kind_that_is_gone_for_a_moment_is_there(api: FakeApi) -> None:
    api.apply(virtual_service("v", "web", "web"))
    async with following(access(api)) as one:
        await one.in_sync()
        sort = api.sorts.pop(("networking.istio.io", "virtualservices"))
        api.end("virtualservices")
        await one.until(lambda: one.kind("virtualservices.networking.istio.io")["state"] == "failing", "404", turn=0.1)
        assert one.deleted() == []
        api.sorts["networking.istio.io", "virtualservices"] = sort
        await one.until(
            lambda: one.kind("virtualservices.networking.istio.io")["state"] == "current", "it is back", turn=1.0
        )
        assert one.deleted() == []
        api.delete(crd(resource_of("VirtualService")))
        await one.until(lambda: one.deleted() == ["VirtualService v"], "it is gone for good", turn=2.0)
        assert one.source.status()["not_installed"] == ["virtualservices.networking.istio.io"]


async def test_a_kubeconfig_that_comes_later(api: FakeApi, tmp_path: Path) -> None:
    path = tmp_path / "config"
    async with following(kubeconfig(path)) as one:
        await one.until(lambda: str(path) in "".join(one.source.unhealthy()), "the file is named", turn=1.0)
        path.write_text(
            f"current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
            f"clusters: [{{name: c, cluster: {{server: '{api.address}'}}}}]\n"
            f"users: [{{name: u, user: {{token: {api.token}}}}}]\n"
        )
        await one.in_sync(turn=1.0)


async def test_a_broken_object_keeps_its_last_good_version(api: FakeApi) -> None:
    api.apply(virtual_service("v", "web", "web", timeout="3s"))
    async with following(access(api)) as one:
        await one.in_sync()
        api.apply(virtual_service("v", "web", "web", timeout="soon"))
        await one.until(lambda: one.mesh is not None and one.mesh.problems, "it is named")
        assert one.mesh is not None
        assert str(one.mesh.problems[0]).startswith("error VirtualService default/v spec.http[0].timeout: ")
        assert one.mesh.virtual_services[0].http[0].timeout_ms == 3000


def gateway(credential: str) -> dict[str, Any]:
    tls = {"mode": "SIMPLE", "credentialName": credential}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }


def asked_for_secrets(api: FakeApi) -> set[str]:
    found = (r for r in api.requests if r.path.endswith("/secrets"))
    return {f"{r.path.split('/')[4]} {r.query['fieldSelector']}" for r in found}


async def test_only_secrets_that_a_gateway_names_are_asked_for(api: FakeApi) -> None:
    own = secret("web-cert", ns="edge", **{"ca.crt": ""})
    api.apply(gateway("web-cert"), own, secret("other", ns="edge"), secret("web-cert"))
    async with following(access(api), gateways_in=frozenset({"edge"})) as one:
        await one.in_sync()
        assert asked_for_secrets(api) == {"edge metadata.name=web-cert"}
        assert one.names("Secret") == ["web-cert"]
        api.apply(secret("new-cert", ns="edge"), gateway("new-cert"))
        await one.until(lambda: one.names("Secret") == ["new-cert"], "the one that is named now", turn=0.1)
        assert "Secret web-cert" in one.deleted()
        api.denied.add("secrets")
        api.end("secrets")
        await one.until(lambda: one.mesh is not None and one.mesh.problems, "it is named", turn=1.0)
        assert one.names("Secret") == ["new-cert"]
        api.delete(gateway("new-cert"))
        await one.until(lambda: one.mesh is not None and not one.mesh.problems, "nobody wants it any more", turn=0.1)
        assert one.names("Secret") == []


async def test_a_secret_that_may_not_be_read_holds_nothing_up(api: FakeApi) -> None:
    api.apply(gateway("web-cert"))
    api.denied.add("secrets")
    async with following(access(api), gateways_in=frozenset({"edge"})) as one:
        await one.in_sync(turn=0.1)
        assert one.has("Gateway", "g")
    api.requests.clear()
    async with following(access(api)) as one:
        await one.in_sync()
        assert asked_for_secrets(api) == set(), "an agent has no gateways"


async def test_files_and_a_cluster_together(api: FakeApi, tmp_path: Path) -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: of-a-file, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"],
             tls: {mode: SIMPLE, credentialName: of-the-cluster}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{name: http, port: 81}]}
"""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "rule.yaml").write_text(rule)
    pair = Authority("x").issue("a.example")
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    api.apply(secret("of-the-cluster", ns="edge", **encoded))
    config: Latest[Mesh | None] = Latest(None)
    clock, edge = SystemClock(), frozenset({"edge"})
    cluster = KubeSource("kube", access(api), clock, lambda: 0.0, None, gateways_in=edge, config=config)
    sources: list[ConfigSource] = [cluster, FileSource(tmp_path / "files")]
    task = asyncio.create_task(follow(sources, config, LastGood(tmp_path / "last-good")))
    version, mesh = 0, None
    while mesh is None or not mesh.secrets:
        version, mesh = await asyncio.wait_for(config.newer(version), HANG_SECONDS)
    assert [s.name for s in mesh.secrets] == ["of-the-cluster"]
    assert [p.ips for p in mesh.pods]
    (web,) = [s for s in mesh.services if s.id.name == "web"]
    assert (web.ports[0].port, web.by_slices) == (81, False), "the source that is named last speaks"
    assert [p.code for p in mesh.problems if p.about.name == "web"] == ["TG0501"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
