"""What is read without a tree is what is read with one, or nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from tests.support.kube.objects import endpoint, endpoint_slice, namespace, node, pod, service

from tidegate.config.kinds import KINDS
from tidegate.config.kinds.base import Place
from tidegate.config.reading import Reading, read
from tidegate.config.schema import ApiModel, Duration
from tidegate.config.sources.kube.decode import Reader, _tree
from tidegate.config.sources.kube.resources import RESOURCES
from tidegate.config.tree import Tree
from tidegate.config.typed import DoubtError, UnfitError, read_typed, struct_of
from tidegate.model.mesh import MeshObject

Object = dict[str, Any]
MANY = [resource for resource in RESOURCES if resource.by_thousands]


def quickly(document: Object) -> MeshObject | None:
    """Raises DoubtError and msgspec's errors."""
    kind = next(k for k in KINDS.values() if k.name == document["kind"])
    doc: Any = msgspec.json.decode(json.dumps(document).encode(), type=struct_of(kind.shape))
    meta = doc.metadata
    return read_typed(kind, doc, Place(kind.key(meta.namespace, meta.name), "", 0, meta.creation_timestamp, True))


def thoroughly(document: Object) -> Reading:
    return read(Tree(0, _tree(json.loads(json.dumps(document)), (), 0)), "", live=True)


PLAIN = [
    namespace("a", **{"istio-injection": "enabled"}),
    node("m", "east"),
    service("web"),
    service("web", ip="None"),
    service("web", trafficDistribution="PreferSameZone", sessionAffinity="ClientIP"),
    service("out", type="ExternalName", externalName="example.com", ports=[], clusterIP="", clusterIPs=[]),
    service("web", ports=[{"name": "a", "port": 1, "targetPort": "8080"}, {"name": "b", "port": 2, "targetPort": "x"}]),
    pod("a", "10.0.0.1", app="web"),
    pod("b"),
    endpoint_slice("s", "web", [endpoint("10.0.0.1", nodeName="m", zone="z", targetRef={"kind": "Pod", "name": "a"})]),
    {**endpoint_slice("s", "web", []), "endpoints": None, "ports": None},
]


@pytest.mark.parametrize("document", PLAIN, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_both_ways_make_the_same(document: Object) -> None:
    whole = thoroughly(document)
    assert not whole.findings
    assert quickly(document) == whole.value


@pytest.mark.parametrize(
    "document",
    [
        service("Web"),
        service("web", trafficDistribution="Nearby"),
        service("web", ports=[{"port": 0}]),
        service("web", ports=[{"port": 80, "targetPort": 70000}]),
        service("web", type="Other"),
        service("web", selector={"a": 1}),
        service("web", ports=[]),
        {**pod("a", "10.0.0.300")},
        endpoint_slice("s", "web", [endpoint("127.0.0.1")]),
        endpoint_slice("s", "web", [{"addresses": []}]),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
    ],
)
def test_of_what_has_to_be_said_something_nothing_is_made(document: Object) -> None:
    assert thoroughly(document).findings
    with pytest.raises((DoubtError, msgspec.ValidationError)):
        quickly(document)


_SOME = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 70000), st.sampled_from(["", "10.0.0.1", "a", "None", "::1"])
)


@given(st.data())
def test_whatever_is_changed_in_an_object_both_say_the_same_or_one_nothing(data: st.DataObject) -> None:
    document = json.loads(json.dumps(data.draw(st.sampled_from(PLAIN))))
    here: Any = document
    while True:
        if isinstance(here, dict) and here:
            key: Any = data.draw(st.sampled_from(sorted(here)))
        elif isinstance(here, list) and here:
            key = data.draw(st.integers(0, len(here) - 1))
        else:
            break
        if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
            if key not in ("kind", "apiVersion", "metadata"):
                here[key] = data.draw(_SOME)
            break
        here = here[key]
    if not isinstance(document["metadata"].get("name"), str) or not document["metadata"]["name"]:
        return
    try:
        made = quickly(document)
    except (DoubtError, msgspec.ValidationError):
        return
    whole = thoroughly(document)
    assert not whole.findings
    assert made == whole.value


@pytest.mark.parametrize("resource", MANY, ids=lambda r: r.plural)
def test_kinds_that_come_by_the_thousand_are_fit_for_it(resource: Any) -> None:
    assert Reader(resource)._typed is not None


def test_shapes_that_do_more_are_refused() -> None:
    class Warned(ApiModel):
        unsupported = frozenset({"a"})

    class Timed(ApiModel):
        wait: Duration = 0

    class Tuple(ApiModel):
        pair: tuple[int, int] = (0, 0)

    for shape in (Warned, Timed, Tuple, KINDS["networking.istio.io", "VirtualService"].shape):
        with pytest.raises(UnfitError):
            struct_of(shape)


def test_what_was_read_is_written_and_read_again() -> None:
    class Inner(ApiModel):
        number: int = Field(default=3, ge=1)

    class Outer(ApiModel):
        ignored = frozenset({"long"})
        some_names: list[str] = Field(default_factory=list)
        inner: Inner | None = None

    shape = struct_of(Outer)
    made = msgspec.json.decode(b'{"someNames": null, "inner": {"number": 4}, "long": [1, 2]}', type=shape)
    kept = msgspec.json.encode(made)
    assert kept == b'{"inner":{"number":4}}'
    assert msgspec.json.decode(kept, type=shape) == made
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"inner": {"number": 0}}', type=shape)
