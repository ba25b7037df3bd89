"""State expansion: whatever the order in which changes come, and however they are cut into batches and files, the same
objects give the same Mesh, and what did not change stays the same object."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.support.configs import Texts, destination_rule, pod, service, virtual_service

from tidegate.config.documents import Document, parse_text
from tidegate.config.sources.base import Change, Delete, InSync, Upsert
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh
from tidegate.model.names import ObjectKey

ROUTE = "- route: [{{destination: {{host: {}, subset: {}}}}}]"
# Two versions of each object; they refer to each other, so that findings depend on what else is there.
WORLD = [
    *((service(n, "http:80"), service(n, "http:80", "tcp:81")) for n in "abc"),
    *((pod(f"p{n}", f"app: {n}", "10.0.0.1"), pod(f"p{n}", f"app: {n}", ready=False)) for n in "ab"),
    (
        destination_rule("d", "a", "subsets: [{name: v1}]"),
        destination_rule("d", "*.svc.cluster.local", "subsets: [{name: v2}]"),
    ),
    *(
        (virtual_service(n, "a", ROUTE.format(to, "v1")), virtual_service(n, f"{to}, z", ROUTE.format(to, "v2")))
        for n, to in (("v", "a"), ("w", "b"), ("x", "c"))
    ),
]


def document(text: str, number: int) -> Document:
    (found,) = parse_text(text, f"{number}.yaml").documents
    assert not found.failed
    return found


DOCUMENTS = [tuple(document(text, number) for text in versions) for number, versions in enumerate(WORLD)]


def whole(state: Sequence[Document]) -> Mesh:
    """The Mesh of a state that is told at once."""
    return Store().apply(0, (*map(Upsert, state), InSync()))


def contents(mesh: Mesh) -> Mesh:
    return replace(mesh, generation=0)


def objects(mesh: Mesh) -> dict[ObjectKey, object]:
    shelves = (mesh.namespaces, mesh.pods, mesh.services, mesh.virtual_services, mesh.destination_rules, mesh.templates)
    return {ObjectKey("", v.origin.kind, v.origin.namespace, v.origin.name): v for shelf in shelves for v in shelf}


@pytest.mark.parametrize("seed", range(25))
def test_the_way_to_a_state_does_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    store, state = Store(), dict[ObjectKey, Document]()
    mesh = store.apply(0, [InSync()])
    for _ in range(40):
        batch: list[Change] = []
        for versions in chance.sample(DOCUMENTS, chance.choice((0, 1, 1, 1, 2, 5))):
            chosen = chance.choice((None, *versions))
            key = versions[0].key
            batch.append(Delete(key) if chosen is None else Upsert(chosen))
            if chosen is None:
                state.pop(key, None)
            else:
                state[key] = chosen
            if chance.random() < 0.2:
                batch.append(batch[-1])  # told twice
        before, mesh = mesh, store.apply(0, [*batch, InSync()])
        assert contents(mesh) == contents(whole(chance.sample(list(state.values()), len(state))))
        old = objects(before)
        for key, value in objects(mesh).items():
            assert value is old.get(key) or value != old.get(key), f"{key} did not change and is another object"
        for name in ("pods", "services", "virtual_services", "destination_rules", "problems"):
            same = getattr(mesh, name) == getattr(before, name)
            assert same == (getattr(mesh, name) is getattr(before, name)), name
        changed = {(k.kind, k.name) for k in old.keys() | objects(mesh).keys() if old.get(k) != objects(mesh).get(k)}
        assert (mesh is before) or {(k.kind, k.name) for k in mesh.changed} == changed


@pytest.mark.parametrize("seed", range(10))
def test_the_order_in_which_files_are_read_does_not_matter(seed: int) -> None:
    """Also when two of them define one object, or one of them is broken by then."""
    chance = random.Random(seed)
    texts = [text for versions in WORLD for text in versions]
    files = {f"{n}.yaml": "---".join(chance.sample(texts, 4)) for n in range(5)}
    expected = Store().apply(0, Texts().say(files))
    source, store, told = Texts(), Store(), dict[str, str]()
    for name in chance.sample(list(files), len(files)):
        told[name] = files[name] + "---\nkind: [\n"
        store.apply(0, source.say(told))
    for name in chance.sample(list(files), len(files)):
        told[name] = files[name]
        mesh = store.apply(0, source.say(told))
    assert contents(mesh) == contents(expected)
