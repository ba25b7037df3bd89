"""Envoys that are not ours: by the document's own bootstrap, and beside a pod as Istio sets them up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.envoy_node import Steady
from tests.support.eventually import eventually
from tests.support.foreign_envoy import AGGREGATED, BOOTSTRAP, SIDECAR, Place, place

# The document: a listener on 127.0.0.1:10000 whose requests go to 127.0.0.2:1234.
SOME_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: some-service}
spec:
  clusterIP: 10.96.0.1
  selector: {app: some}
  ports: [{name: http, port: 10000, targetPort: 1234}]
---
apiVersion: v1
kind: Pod
metadata: {name: some-1, labels: {app: some}}
spec: {containers: [{name: c, ports: [{containerPort: 1234}]}]}
status: {podIPs: [{ip: 127.0.0.2}], conditions: [{type: Ready, status: "True"}]}
"""


def web(name: str = "web", address: str = "10.96.0.10", port: int = 9080) -> str:
    """A service with two pods on the loopback, v1 on port 8081 and v2 on 8082."""
    pods = "".join(
        f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-{v}, labels: {{app: {name}, version: {v}}}}}
spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: {number}}}]}}]}}
status: {{podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
"""
        for v, number in (("v1", 8081), ("v2", 8082))
    )
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  clusterIP: {address}
  selector: {{app: {name}}}
  ports: [{{name: http, port: {port}, targetPort: http}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
{pods}"""


def rule(*routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web], http: [{", ".join(routes)}]}}
"""


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: web, subset: {subset}}}}}]"


DIALECTS = ["GRPC", "DELTA_GRPC"]
WEB = "http://127.0.0.1:9080/"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path, [("v1", 8081), ("v2", 8082), ("some", 1234)]) as made:
        yield made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_documents_bootstrap_gets_the_documents_listener(here: Place, dialect: str) -> None:
    here.say(some=SOME_SERVICE)
    here.serve()
    here.envoy(BOOTSTRAP, "envoy-1", dialect)
    got = here.answers("http://127.0.0.1:10000/a", "-H", "Host: example.com", version="some")
    assert (got["body"]["path"], got["body"]["headers"]["host"]) == ("/a", "example.com")
    assert here.refused() == {}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("bootstrap", [BOOTSTRAP, AGGREGATED], ids=["a stream for each", "aggregated"])
async def test_no_request_fails_while_subsets_change(here: Place, bootstrap: str, dialect: str) -> None:
    here.say(web=f"{web()}---{rule(to('v1'))}")
    here.serve()
    here.envoy(bootstrap, "envoy-1", dialect)
    await asyncio.to_thread(here.answers, WEB, version="v1")
    stream = await asyncio.to_thread(Steady, here.pod, address="127.0.0.1", port=9080, rate=50)
    await stream.started()
    for number in range(8):
        # Each change brings a subset that was not there, so a cluster that the routes need and one that they leave.
        version = "v2" if number % 2 == 0 else "v1"
        fresh = f"{{name: s{number}, labels: {{version: {version}}}}}"
        subsets = web().replace("subsets: [", f"subsets: [{fresh}, ")
        here.say(web=f"{subsets}---{rule(to(f's{number}'))}")  # at once: a rule for a subset that is gone answers 503
        await asyncio.to_thread(here.answers, WEB, version=version)
    result = await stream.stop()
    assert result["failed"] == 0, result
    assert set(result["seen"]) == {"v1", "v2"}, result
    assert here.refused() == {}
    await asyncio.to_thread(eventually, lambda: leftovers(here) == ["s7"], "clusters of subsets that went are gone")


def leftovers(here: Place) -> list[str]:
    names = {name.split("|")[2] for name in here.stat(r"^cluster\.outbound.*membership_total$")}
    return sorted(name for name in names if name.startswith("s"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_rules_say_holds_for_them(here: Place, dialect: str) -> None:
    match = "match: [{headers: {end-user: {exact: jason}}}]"
    here.say(web=web(), rule=rule(f"{{{match}, {to('v2')}}}", f"{{{to('v1')}}}"))
    here.say(other=web("other", "10.96.0.11").replace("8081", "1").replace("8082", "1"))
    here.serve()
    here.envoy(BOOTSTRAP, "envoy-1", dialect)
    here.answers(WEB, "-H", "Host: web", version="v1")
    here.answers(WEB, "-H", "Host: web.default:9080", "-H", "end-user: jason", version="v2")
    here.answers(WEB, "-H", "Host: nobody", status=502)
    here.answers(WEB, "-H", "Host: other", status=503)


@pytest.fixture
def captured(here: Place) -> Place:
    """The namespace as Istio's init container leaves it."""
    here.redirect()
    return here


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_sidecar_serves_a_pod_that_is_redirected_to_it(captured: Place, dialect: str) -> None:
    here = captured
    tcp = web("db", "10.96.0.12", 5432).replace("name: http, port", "name: tcp, port").replace("8082", "1234")
    own = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: own}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8081}]}]}
status: {podIPs: [{ip: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}
"""
    inbound = web("own", "10.96.0.13", 80).partition("---")[0]
    here.say(web=web(), rule=rule(to("v2")), db=tcp, own=f"{inbound}---{own}")
    here.serve()
    here.envoy(AGGREGATED, SIDECAR, dialect)
    # HTTP by virtual address, TCP by virtual address, what is no service, and what comes in.
    here.answers("http://10.96.0.10:9080/", "-H", "Host: web", version="v2")
    got = here.answers("http://10.96.0.12:5432/", "-H", "Host: whatever")
    assert got["body"]["version"] in ("v1", "some")
    assert "x-request-id" not in got["body"]["headers"], "HTTP was made of what is TCP"
    here.answers("http://10.0.0.7:8082/", "-H", "Host: nobody", version="v2")
    got = here.answers("http://10.0.0.1:8081/", "-H", "Host: own", version="v1")
    assert got["body"]["peer"] == "127.0.0.6"
    assert here.refused() == {}


def test_an_envoy_keeps_what_it_has_while_nobody_serves_and_learns_what_changed(here: Place) -> None:
    here.say(web=web(), rule=rule(to("v1")))
    server = here.serve()
    here.envoy(BOOTSTRAP, "envoy-1")
    here.answers(WEB, version="v1")
    here.end(server)
    here.say(rule=rule(to("v2")))
    assert here.ask(WEB)["body"]["version"] == "v1"
    here.serve()
    here.answers(WEB, version="v2")


def test_a_broken_document_changes_nothing(here: Place) -> None:
    here.say(web=web(), rule=rule(to("v1")))
    here.serve()
    here.envoy(BOOTSTRAP, "envoy-1")
    here.answers(WEB, version="v1")
    marker = rule("{directResponse: {status: 418}}").replace("[web]", "[mark.example]").replace("web", "mark")
    here.say(rule="kind: [", mark=marker)
    here.answers(WEB, "-H", "Host: mark.example", status=418)
    assert here.ask(WEB)["body"]["version"] == "v1"
