"""Images for clients that are not ours: shared by equal ones, and no longer kept than somebody needs them."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of
from tests.support.others import BY_HAND, SMALL, sidecar

from tidegate.compile.facts import Facts, join
from tidegate.model.plan.envoy import LISTENERS
from tidegate.xds.images import Images

VERSIONED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: versioned, namespace: default}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {proxy: {proxyVersion: "^1[.]29"}}
    patch: {operation: MERGE, value: {connect_timeout: 7s}}
"""


def facts(*more: str) -> Facts:
    return join(config_of(*SMALL, *more), ())


async def test_equal_clients_share_an_image_until_something_changes() -> None:
    images = Images()
    images.publish(facts(), [])
    first = await images.of(sidecar(), "one")
    assert first is not None
    assert await images.of(sidecar(SIZE="big"), "another") is first, "nobody asks for what it says"
    assert await images.of(BY_HAND, "by hand") is not first
    images.publish(facts(), [sidecar()])
    assert await images.of(sidecar(), "one") is not first


async def test_what_patches_ask_for_tells_clients_apart() -> None:
    images = Images()
    images.publish(facts(VERSIONED), [])
    new, old = sidecar(ISTIO_VERSION="1.29.0"), sidecar(ISTIO_VERSION="1.28.0")
    assert await images.of(new, "new") is not await images.of(old, "old")


async def test_what_was_good_is_kept_for_who_is_connected() -> None:
    images = Images()
    images.publish(facts(), [])
    kept, gone = images.good(sidecar()), images.good(BY_HAND)
    images.publish(facts(), [sidecar()])
    assert images.good(sidecar()) is kept
    assert images.good(BY_HAND) is not gone


async def test_who_cannot_be_served_concerns_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images()
    images.publish(facts(), [])
    monkeypatch.setattr("tidegate.xds.images.served", lambda *_: 1 / 0)
    assert await images.of(sidecar(), "odd") is None
    monkeypatch.undo()
    assert await images.of(sidecar(), "odd") is not None
    assert (await images.once(BY_HAND)).all(LISTENERS)
