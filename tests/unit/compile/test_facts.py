"""Facts are joined once: what sandboxes lend, what selectors find, and that a change costs what changed."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address

from tests.support.configs import ENROLLED, config_of, pod, sandbox, service
from tests.support.world import World

from tidegate.compile.facts import Facts, join
from tidegate.compile.registry import Registry
from tidegate.model.names import WorkloadId

BARE = """
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: default, labels: {app: web}}
spec: {containers: [{name: c}]}
"""
WEB = service("web", "tcp:80", ips="10.96.0.1")
BOX = WorkloadId("default", "box")


def endpoints(facts: Facts) -> list[str]:
    web = facts.services["web.default.svc.cluster.local"]
    return [f"{e.address}:{e.port}" for e in Registry(facts.read).endpoints(web, web.ports[0])]


def test_a_container_without_status_is_ready_where_its_sandbox_is() -> None:
    mesh = config_of(ENROLLED, WEB, BARE)
    here = join(mesh, [sandbox("box", "10.0.0.7")])
    assert endpoints(here) == ["10.0.0.7:80"]
    assert here.pod_at(ip_address("10.0.0.7")) is here.pods[BOX]
    assert (here.enrolments[BOX].enrolled, here.enrolment(BOX).reason) == (
        True,
        "namespace label istio-injection=enabled",
    )
    gone = join(mesh, [], here)
    assert endpoints(gone) == []
    assert gone.pods[BOX] is mesh.pods[0], "as it is written"
    assert gone.pod_at(ip_address("10.0.0.7")) is None
    assert not gone.enrolments


def test_a_status_is_believed_but_for_addresses_that_it_lacks() -> None:
    written = join(config_of(pod("box", "app: web", "10.0.0.1")), [sandbox("box", "10.0.0.7")])
    assert [str(a) for a in written.pods[BOX].ips] == ["10.0.0.1"]
    starting = join(config_of(pod("box", "app: web", ready=False)), [sandbox("box", "10.0.0.7")])
    assert [str(a) for a in starting.pods[BOX].ips] == ["10.0.0.7"]
    assert not starting.pods[BOX].ready


def test_a_sandbox_without_a_document_is_not_in_the_mesh_and_says_why() -> None:
    facts = join(config_of(ENROLLED), [sandbox("box", "10.0.0.7")])
    assert not facts.enrolments[BOX].enrolled
    assert "has not arrived" in facts.enrolments[BOX].reason


def test_an_address_of_two_pods_means_the_one_that_is_ready_and_not_on_the_host() -> None:
    mesh = config_of(pod("a", "app: a", "10.0.0.1", ready=False), pod("b", "app: b", "10.0.0.1"))
    found = join(mesh, []).pod_at(ip_address("10.0.0.1"))
    assert found is not None
    assert found.id.name == "b"


def test_joined_after_changes_is_joined_from_nothing() -> None:
    for seed in range(40):
        world = World(seed)
        facts = world.join()
        for step in range(60):
            for _ in range(world.random.randrange(1, 4)):
                world.change()
            facts, fresh = world.join(facts), world.join()
            for field in fields(Facts):
                if field.name == "read":
                    continue
                assert getattr(facts, field.name) == getattr(fresh, field.name), (seed, step, field.name)


def test_what_did_not_change_is_the_same_object() -> None:
    mesh = config_of(ENROLLED, WEB, pod("web", "app: web", "10.0.0.1"), pod("other", "app: other", "10.0.0.2"))
    facts = join(mesh, [])
    read_again = replace(
        mesh,
        pods=tuple(replace(p) for p in mesh.pods),
        services=tuple(replace(s) for s in mesh.services),
        namespaces=tuple(replace(n) for n in mesh.namespaces),
    )
    same = join(read_again, [], facts)
    assert [f.name for f in fields(Facts) if getattr(same, f.name) is not getattr(facts, f.name)] == ["mesh", "read"]
    other = replace(mesh, pods=tuple(replace(p, ready=False) if p.id.name == "other" else p for p in mesh.pods))
    changed = join(other, [], facts)
    assert changed.pods_by_service is facts.pods_by_service, "the service selects the other pod"
    assert changed.services is facts.services
    assert changed.virtual_services is facts.virtual_services
    assert changed.pods is not facts.pods
