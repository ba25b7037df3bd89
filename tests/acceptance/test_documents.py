"""The user's documents, letter by letter: alone, together, in each version of the API, down to Envoy's messages."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.acceptance.api_support import DOCUMENTS, documents
from tests.support.configs import ENROLLED, mesh_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.config.sources.files import load_paths
from tidegate.config.stand_ins import with_stand_ins
from tidegate.config.store import load_once
from tidegate.model.mesh import Mesh, Problem
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES
from tidegate.xds.encode import Encoder

NO_YAML = "23-virtualservice-ratings-route"
# What will always be said: old spellings, and what Kubernetes would refuse.
LASTING = {
    "02-virtualservice-httpbin": {"TG0525"},  # its Gateway is a document of its own
    "16-envoyfilter-reviews-lua": {"TG0119", "TG0454"},
    "18-virtualservice-bookinfo-rule": {"TG0119", "TG0311", "TG0525"},
    "19-virtualservice-bookinfo-mongo": {"TG0122", "TG0525"},
    "28-destinationrule-reviews-cb-policy": {"TG0119"},
    "38-virtualservice-gateway-routing": {"TG0119", "TG0525"},
    "40-serviceentry-unix-domain-socket-example": {"TG0426"},  # who runs the node says which sockets
    "43-virtualservice-bookinfo-mongo": {"TG0122"},
    "44-virtualservice-bookinfo-sni": {"TG0525"},
}
# Codes of what is not done yet; none of these documents may get another warning than these and the lasting ones.
NOT_YET = {"TG0462"}
DIGEST = "61387ef300ce4b00dac1af9eb0fc335db0acffb9ca5d44b1aa54c1276a77d56e"


def text_of(name: str) -> str:
    return (DOCUMENTS / f"{name}.yaml").read_text()


def said(text: str, name: str) -> list[Problem]:
    return list(mesh_of({f"{name}.yaml": text}).problems)


def test_nobody_corrected_them() -> None:
    found = sha256(b"\0".join(path.read_bytes() for path in sorted(DOCUMENTS.glob("*.yaml")))).hexdigest()
    assert found == DIGEST


@pytest.mark.parametrize("name", [name for name in documents() if name != NO_YAML])
def test_a_document_is_read_and_nothing_of_it_is_ignored_in_silence(name: str) -> None:
    problems = said(text_of(name), name)
    assert not [str(p) for p in problems if p.is_error]
    codes = {p.code for p in problems}
    assert LASTING.get(name, set()) <= codes
    assert codes <= LASTING.get(name, set()) | NOT_YET, list(map(str, problems))
    assert all(p.line and p.path for p in problems)


def test_the_one_that_is_no_yaml_is_reported_with_its_line() -> None:
    [problem] = said(text_of(NO_YAML), NO_YAML)
    assert (problem.code, problem.line, problem.is_error) == ("TG0108", 15, True)


def everything() -> Mesh:
    return load_once(load_paths([DOCUMENTS]))


def test_together_the_one_that_is_no_yaml_hides_no_other() -> None:
    mesh = everything()
    assert [Path(p.file).stem for p in mesh.problems if p.is_error] == [NO_YAML]
    names = {text_of(n).split("name:")[1].split()[0] for n in documents() if "\nkind: DestinationRule" in text_of(n)}
    assert {rule.name for rule in mesh.destination_rules} == names


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
@pytest.mark.parametrize("name", [n for n in documents() if n != NO_YAML and "envoyfilter" not in n])
def test_a_document_means_the_same_in_each_version_of_the_api(name: str, version: str) -> None:
    before = [(p.code, p.line, p.path) for p in said(text_of(name), name)]
    after = [(p.code, p.line, p.path) for p in said(text_of(name).replace("/v1alpha3", f"/{version}"), name)]
    assert after == before


SERVICES = tuple(
    service(name, *ports, namespace=namespace)
    for name, namespace, ports in (
        ("reviews", "prod", ("http:9080",)),
        ("reviews", "foo", ("http:9080",)),
        ("reviews", "qa", ("http:9080", "http-q:7777")),
        ("ratings", "prod", ("http:9080",)),
        ("productpage", "prod", ("http:9080",)),
        ("myredissrv", "prod", ("redis:6379",)),
        ("mongo", "prod", ("mongo:5555",)),
        ("httpbin", "default", ("http:8000",)),
    )
)


@pytest.mark.parametrize("name", [n for n in documents() if n != NO_YAML])
def test_what_a_document_becomes_are_messages_of_envoy(name: str) -> None:
    client = pod("client", "app: reviews, env: prod", "10.0.0.1", namespace="default")
    texts = (ENROLLED, client, *SERVICES, text_of(name))
    mesh = with_stand_ins(mesh_of({f"{n}.yaml": text for n, text in enumerate(texts)}))
    plan = compile_plan(join(mesh, (sandbox("client", "10.0.0.1"),)))
    encoder = Encoder()
    for kind in (LISTENERS, SCOPES, ROUTES, CLUSTERS, ENDPOINTS):
        for called, resource in plan.envoy[kind].items():
            encoded, rejection = encoder.encode(kind, called, resource)
            assert encoded is not None, rejection
            for ref in resource.refs:
                if ref.kind == CLUSTERS and not ref.name.startswith("outbound|"):
                    assert ref.name in plan.envoy[CLUSTERS]
