"""What a field does: the documents of tests/vectors/fields with it, and without it or with another value."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.configs import mesh_of, sandbox
from tests.support.shapes import Field, places
from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.explanation import Explanation
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.config.stand_ins import with_stand_ins
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CHECKS, Resources

DIRECTORY = Path(__file__).resolve().parents[1] / "vectors" / "fields"
NODE, CLIENT = "node1", WorkloadId("shop", "client")
Documents = list[dict[str, Any]]
Step = str | int


@cache
def samples() -> Documents:
    """The documents in which every field that is honoured is set. Not to be changed."""
    return [doc for path in sorted(DIRECTORY.glob("*.yaml")) for doc in yaml.safe_load_all(path.read_text())]


def mesh_from(documents: Documents) -> Mesh:
    return mesh_of({"fields.yaml": yaml.safe_dump_all(documents, sort_keys=False)})


def outcome(mesh: Mesh) -> object:
    """What a node does by it: who is in the mesh and as whom, rows, services, Envoy's resources, names, what one means.
    And what a gateway of namespace shop does."""
    complete = with_stand_ins(mesh)
    facts = join(complete, (sandbox("client", "10.244.1.1", namespace="shop"),), node=NODE)
    plan = compile_plan(facts)
    envoy = _bodies(plan.envoy)
    pods = {name: (facts.enrolment(name).enrolled, pod.service_account) for name, pod in facts.pods.items()}
    told = [_without_lines(explain(facts, CLIENT, name, 80)) for name in ("outside", "member-0.members")]
    at_edge = _at_edge(facts)
    rows = (plan.destinations, plan.l4, sorted(plan.services.items()), plan.pods, plan.names, _policies(plan))
    return pods, told, rows, envoy, at_edge


def _policies(plan: Plan) -> object:
    """Who may connect, wherever it is written."""
    nowhere = Origin("AuthorizationPolicy", "", "")
    return [replace(one, origin=nowhere) for one in plan.policies.policies], plan.policies.workloads


def _without_lines(told: Explanation) -> list[tuple[str, str]]:
    """What explain says; another field only moves the lines behind it."""
    return [(hop.step, re.sub(r"\.yaml:\d+", ".yaml", hop.result)) for hop in told.hops]


def _at_edge(facts: Facts) -> object:
    files = Materials(files={f"/c/{name}": name.encode() for name in ("tls.crt", "tls.key", "ca.crt", "ca.crl")})
    plan = compile_gateway(facts, GatewayWorkload("shop", {"istio": "ingressgateway"}), files)
    return _bodies(plan.envoy), [(left.served.server, left.why) for left in plan.left_out]


def _bodies(resources: Resources) -> dict[str, dict[str, Any]]:
    return {
        kind: {name: resource.body for name, resource in table.items()}
        for kind, table in resources.items()
        if kind != CHECKS
    }


def is_patch(path: tuple[Step, ...]) -> bool:
    """Whether a place is in an EnvoyFilter: only for those the samples' patches are applied, which takes long."""
    return bool(samples()[int(path[0])]["kind"] == "EnvoyFilter")


def _mesh_with(documents: Documents, patches: bool) -> Mesh:
    return mesh_from([doc for doc in documents if patches or doc["kind"] != "EnvoyFilter"])


@cache
def usual_mesh(patches: bool = False) -> Mesh:
    return _mesh_with(samples(), patches)


@cache
def usual(patches: bool = False) -> object:
    """What a node does by the samples."""
    mesh = usual_mesh(patches)
    errors = [str(p) for p in mesh.problems if p.is_error]
    assert not errors, errors
    return outcome(mesh)


def occurrences(field: Field) -> Iterator[tuple[Step, ...]]:
    """Where the field is set in the samples: number of the document, then keys."""
    for place in places()[field.shape]:
        kind, *steps = place.split(".")
        for number, document in enumerate(samples()):
            if document["kind"] == kind:
                for path in _find(document, steps):
                    if field.name in _at(document, path):
                        yield (number, *path, field.name)


def does_something(field: Field) -> bool:
    """Whether taking the field away, or changing it where it has to be there, makes a difference anywhere. Where it can
    only go or come together with others it goes with what it stands in."""
    for path in occurrences(field):
        meshes = list(_variants(path))
        around = path[:-1]
        while not meshes and around:
            meshes, around = list(_without(around)), around[:-1]
        if any(outcome(mesh) != usual(is_patch(path)) for mesh in meshes):
            return True
    return False


def with_value(place: tuple[Step, ...], name: str, value: Any) -> Mesh:
    """The samples with one field more."""
    documents = copy.deepcopy(samples())
    _at(documents, place)[name] = value
    return _mesh_with(documents, is_patch(place))


def hosts_of(field: Field) -> Iterator[tuple[Step, ...]]:
    """Where the samples have the field's shape, with or without the field."""
    for place in places()[field.shape]:
        kind, *steps = place.split(".")
        for number, document in enumerate(samples()):
            if document["kind"] == kind:
                yield from ((number, *path) for path in _find(document, steps))


def _without(path: tuple[Step, ...]) -> Iterator[Mesh]:
    documents = copy.deepcopy(samples())
    _at(documents, path[:-1]).pop(path[-1])
    mesh = _mesh_with(documents, is_patch(path))
    if not any(p.is_error for p in mesh.problems):
        yield mesh


def _variants(path: tuple[Step, ...]) -> Iterator[Mesh]:
    yield from (without := list(_without(path)))
    if without:
        return
    documents = copy.deepcopy(samples())
    parent = _at(documents, path[:-1])
    for other in _others(parent[path[-1]]):
        parent[path[-1]] = other
        mesh = _mesh_with(documents, is_patch(path))
        if not any(p.is_error for p in mesh.problems):
            yield mesh


def _others(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (value + 1, value - 1)
    elif isinstance(value, str):
        yield from {value + "x", re.sub(r"\d", "2", value), "False", "TCP"} - {value}
    elif isinstance(value, list):
        yield value[:-1]
    elif isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}


def _at(tree: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _find(tree: Any, steps: list[str], path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    if not steps:
        if isinstance(tree, dict):
            yield path
        return
    name = steps[0].rstrip("[]{}")
    if not isinstance(tree, dict) or name not in tree:
        return
    inner = tree[name]
    if steps[0].endswith("[]") and isinstance(inner, list):
        for number, item in enumerate(inner):
            yield from _find(item, steps[1:], (*path, name, number))
    elif steps[0].endswith("{}") and isinstance(inner, dict):
        for key, item in inner.items():
            yield from _find(item, steps[1:], (*path, name, key))
    else:
        yield from _find(inner, steps[1:], (*path, name))
