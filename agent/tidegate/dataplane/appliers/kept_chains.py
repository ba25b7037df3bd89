"""Filter chains that a pod's listener keeps when nothing is sent to them any more.

Envoy ends the connections of a chain that it no longer has. Where a rule goes by which it carried connections to a
service port (model/plan/envoy.py, FORWARD), the relay gets the next ones, and those that live go on as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidegate.compile.outbound.listeners import completed
from tidegate.model.plan.envoy import CLUSTERS, FORWARD, EnvoyResource, ResourceRef, ResourcesByName

ListenerChain = Mapping[str, Any]


def with_kept(told: EnvoyResource | None, wanted: EnvoyResource, clusters: ResourcesByName) -> EnvoyResource:
    """A listener as it is wanted, with those chains of what Envoy was told that are for no connection of the new ones.

    clusters: those that there are; what leads to another one is not kept.
    """
    if told is None:
        return wanted
    new: list[ListenerChain] = wanted.body["filter_chains"]
    names = {chain.get("name", "") for chain in new}
    taken = {place for chain in new for place in _places(chain)}
    kept = [
        chain
        for chain in told.body["filter_chains"]
        if chain.get("name", "").startswith(FORWARD)
        and chain["name"] not in names
        and taken.isdisjoint(_places(chain))
        and all(name in clusters for name in _led_to(chain))
    ]
    if not kept:
        return wanted
    refs = {ResourceRef(CLUSTERS, name) for chain in kept for name in _led_to(chain)}
    return completed(replace(wanted, body={**wanted.body, "filter_chains": [*new, *kept]}, refs=wanted.refs | refs))


def _places(chain: ListenerChain) -> Iterator[tuple[int, str, int, str]]:
    """What a chain is for: port, network and a name that clients ask for."""
    match = chain.get("filter_chain_match", {})
    names = match.get("server_names") or [match.get("transport_protocol", "")]
    for network in match.get("prefix_ranges", ()):
        for name in names:
            yield match.get("destination_port", 0), network["address_prefix"], network["prefix_len"], name


def _led_to(chain: ListenerChain) -> list[str]:
    proxy = chain["filters"][-1]["typed_config"]
    if "cluster" in proxy:
        return [proxy["cluster"]]
    return [one["name"] for one in proxy["weighted_clusters"]["clusters"]]
