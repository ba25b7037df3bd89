"""Objects of the API server as documents."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.kube.objects import namespace, node, pod, secret, service, virtual_service
from tests.support.kube.told import resource_of, told

from tidegate.config.kinds import KINDS
from tidegate.config.reading import _BY_VERSION
from tidegate.config.sources.kube.decode import BrokenError, Reader, bookmark
from tidegate.config.sources.kube.resources import RESOURCES
from tidegate.config.sources.kube.resources import secret as secret_resource
from tidegate.model.kube import Pod, Service

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def with_more(document: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], **metadata}}


def test_what_nobody_reads_is_not_kept() -> None:
    long = {"managedFields": [{"fieldsV1": {"f:x": {}}}], "annotations": {LAST_APPLIED: "{}", "a": "b"}}
    for document in (service("web"), virtual_service("v", "web", "web"), pod("a", "10.0.0.1")):
        found = told(with_more(document, **long))
        assert b"managedFields" not in found.kept
        assert b"last-applied" not in found.kept
        assert not found.document.problems
    made = told(with_more(pod("a", "10.0.0.1"), **long)).document.value
    assert isinstance(made, Pod)
    assert made.annotations == {"a": "b"}
    assert b"image" not in told(pod("a", "10.0.0.1")).kept


def test_what_is_kept_is_read_as_the_same() -> None:
    for document in (
        service("web"),
        pod("a", "10.0.0.1"),
        virtual_service("v", "web", "web"),
        namespace("n"),
        node("m"),
    ):
        first = told(document)
        again = Reader(resource_of(document["kind"])).read(first.kept)
        assert again.document == first.document
        assert again.kept == first.kept


def test_an_object_with_an_error_is_told_with_its_place_and_its_text() -> None:
    broken = virtual_service("v", "web", "web", timeout="soon")
    document = told(with_more(broken, namespace="n", managedFields=[])).document
    assert document.failed
    (problem,) = document.problems
    assert str(problem).startswith("error VirtualService n/v spec.http[0].timeout: ")
    assert document.piece is not None
    assert json.loads(document.piece.text)["metadata"] == {"name": "v", "namespace": "n"}


def test_kubernetes_may_be_newer_and_istios_kinds_may_not() -> None:
    newer = with_more(service("Web", newField=1), name="web")
    odd = service("web", newField=1, trafficDistribution="Nearby")
    assert not told(newer).document.problems
    assert len(told(odd).document.problems) == 1
    rule = virtual_service("v", "web", "web", newField=1)
    assert [p.code for p in told(rule).document.problems] == ["TG0101"]


def test_services_of_a_cluster_are_by_slices() -> None:
    made = told(service("web")).document.value
    assert isinstance(made, Service)
    assert made.by_slices


def test_partial_objects_are_of_the_kind_that_was_asked_for() -> None:
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "n"}}
    found = Reader(resource_of("Namespace")).read(json.dumps(partial).encode())
    assert found.key == ("", "Namespace", "", "n")
    assert not found.document.problems


def test_kinds_that_do_nothing_yet_are_named() -> None:
    policy = {"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "n"}, "spec": {}}
    (problem,) = told(policy).document.problems
    assert str(problem).startswith("warning AuthorizationPolicy n/p")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"metadata": []}', b'{"metadata": {}}', b'{"metadata": {"name": 1}}']
)
def test_what_has_no_name_is_no_object(raw: bytes) -> None:
    for resource in (resource_of("Service"), resource_of("VirtualService")):
        with pytest.raises(BrokenError):
            Reader(resource).read(raw)


def test_what_has_a_name_and_cannot_be_read_is_told() -> None:
    deep = '{"metadata": {"name": "v", "namespace": "n"}, "spec": ' + "[" * 500 + "]" * 500 + "}"
    found = Reader(resource_of("VirtualService")).read(deep.encode())
    assert found.document.failed
    assert str(found.document.problems[0]).startswith("error VirtualService n/v")


def test_a_fault_of_ours_concerns_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("ours")

    kind = replace(KINDS["networking.istio.io", "VirtualService"], read=fault)
    reader = Reader(resource_of("VirtualService"))
    monkeypatch.setitem(_BY_VERSION, ("networking.istio.io/v1", "VirtualService"), kind)
    document = reader.read(json.dumps(virtual_service("v", "web", "web")).encode()).document
    assert document.failed
    assert "ZeroDivisionError: ours" in str(document.problems[0])


def test_no_value_of_a_secret_is_in_a_message() -> None:
    document = told(secret("s", **{"tls.crt": "!!!", "tls.key": "aGlkZGVu"})).document
    assert document.problems
    assert "aGlkZGVu" not in "".join(map(str, document.problems)) + repr(document)


def test_bookmarks() -> None:
    end = {"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}}
    assert (bookmark(json.dumps(end).encode()).revision, bookmark(json.dumps(end).encode()).ends_list) == ("7", True)
    assert not bookmark(b'{"metadata": {"resourceVersion": "8"}}').ends_list
    with pytest.raises(BrokenError):
        bookmark(b"7")


def test_resources_know_where_they_are() -> None:
    slices = resource_of("EndpointSlice")
    assert slices.path("v1") == "/apis/discovery.k8s.io/v1/endpointslices"
    assert slices.name == "endpointslices.discovery.k8s.io"
    one = secret_resource("n", "s")
    assert (one.path("v1"), one.fields) == ("/api/v1/namespaces/n/secrets", "metadata.name=s")
    assert one.name == "secrets n/s"
    assert len({r.name for r in RESOURCES}) == len(RESOURCES)
    assert {r.versions[0] for r in RESOURCES if r.kind == "VirtualService"} == {"v1"}
