"""What clients that are not ours get of a small mesh."""

from __future__ import annotations

from typing import Any

from tests.support.configs import ENROLLED, config_of, pod, service
from tidegate.compile.facts import join
from tidegate.compile.others.client import Client, Sources, client
from tidegate.compile.others.served import ClientResources, known, served
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, Resources

SIDECAR_ID = "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local"
BY_HAND = Client(sources=Sources("xds_cluster"))
SMALL = (
    ENROLLED,
    service("web", "http:80:8080", "tcp-db:5432", ips="10.96.0.1"),
    service("db", "tcp:5432", ips="10.96.0.2"),
    service("safe", "tls:8443", ips="10.96.0.3"),
    pod("web-1", "app: web", "10.0.0.1"),
    pod("db-1", "app: db, version: v1", "10.0.0.2"),
    pod("safe-1", "app: safe", "10.0.0.3"),
)


def sidecar(**metadata: Any) -> Client:
    """The sidecar of pod web-1, which says this of itself."""
    return client(SIDECAR_ID, metadata)


def served_to(who: Client, *more: str) -> ClientResources:
    """What a client gets of the small mesh and these documents."""
    facts = join(config_of(*SMALL, *more), ())
    return served(facts, known(facts, who))


def made_for(who: Client, *more: str) -> Resources:
    """The same, without what could not be applied."""
    return served_to(who, *more).resources


def chains(found: Resources, listener: str) -> dict[str, Any]:
    """The filter chains of a listener: what each is for -> cluster, or clusters with their weights."""
    out: dict[str, Any] = {}
    for chain in found[LISTENERS][listener].body["filter_chains"]:
        match = chain.get("filter_chain_match", {})
        prefixes = [f"{p['address_prefix']}/{p['prefix_len']}" for p in match.get("prefix_ranges", ())]
        words = [*prefixes, *match.get("server_names", ()), *filter(None, [match.get("transport_protocol")])]
        last = chain["filters"][-1]["typed_config"]
        several = last.get("weighted_clusters", {}).get("clusters", ())
        where = {c["name"]: c["weight"] for c in several} or last.get("cluster") or last["rds"]["route_config_name"]
        out[" ".join(words) or "any"] = where
    return out


def dangling(found: Resources) -> list[str]:
    """Clusters that listeners lead to and that are not there."""
    led_to = {name for item in found[LISTENERS].values() for name in item.needs(CLUSTERS)}
    return sorted(led_to - set(found[CLUSTERS]))
