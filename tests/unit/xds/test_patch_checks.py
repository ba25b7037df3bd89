"""Patches that are shown alone: what a client says of each is a verdict on it, once."""

from __future__ import annotations

from dataclasses import replace

from tests.support.envoy_resources import cluster, listener
from tests.support.transcript import Delta, Publisher

from tidegate.model.envoy_filter import ApplyTo, Patch, PatchOperation
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, EnvoyResource, ResourceRef
from tidegate.xds.patch_checks import PatchChecks

GOOD, BAD, BROKEN = (
    Patch(
        apply_to=ApplyTo.HTTP_FILTER,
        operation=PatchOperation.ADD,
        origin=Origin("EnvoyFilter", "default", "f", "f.yaml", line),
        index=line,
    )
    for line in range(3)
)


def shown(patch: Patch, wrong: str = "") -> EnvoyResource:
    name = f"check|{patch.title}"
    return replace(
        listener(name, "/run/netns/x", "web"), origins=(patch.origin,), judged=patch, refs=frozenset(), wrong=wrong
    )


def verdicts(client: Delta) -> list[tuple[object, str]]:
    return [(v.rule, v.refused) for v in client.session.take_verdicts()]


def test_each_patch_gets_its_verdict_and_the_refused_one_is_told() -> None:
    publisher = Publisher()
    client = Delta()
    client.session.publish(publisher.image(shown(GOOD), shown(BAD)))
    client.say(LISTENERS)
    names = [sorted((f"check|{GOOD.title}", f"check|{BAD.title}"))]
    assert [heard[1] for heard in client.hear()] == names
    client.nack(LISTENERS, "one of them is broken")
    while heard := client.hear():
        for kind, [name], _ in heard:
            client.nack(kind, "no such thing") if BAD.title in name else client.ack(kind)
    assert sorted(verdicts(client), key=lambda found: found[1]) == [(GOOD, ""), (BAD, "no such thing")]
    assert verdicts(client) == [], "once"
    [rejection] = client.session.withheld()
    assert (rejection.name, rejection.origins) == (f"check|{BAD.title}", (BAD.origin,))


def test_a_patch_that_could_not_be_applied_was_refused_without_being_sent() -> None:
    client = Delta()
    image = Publisher().image(shown(BROKEN, wrong="REMOVE is not possible"))
    client.session.publish(image)
    client.say(LISTENERS)
    assert all(not names for _, names, _ in client.hear())
    assert verdicts(client) == [(BROKEN, "REMOVE is not possible")]
    assert [(r.detail, r.by) for r in image.broken] == [("REMOVE is not possible", "tidegate")]


def test_clusters_are_judged_where_a_listener_leads_to_them() -> None:
    made = replace(cluster("check|c"), judged=GOOD)
    holder = replace(shown(BAD), refs=frozenset({ResourceRef(CLUSTERS, "check|c")}))
    image = Publisher().image(made, holder)
    assert image.patch_checks[CLUSTERS, "check|c"].judged is GOOD


def test_without_patches_nothing_is_looked_at() -> None:
    client = Delta()
    assert PatchChecks().take_verdicts(None, client.session.watches) == []
