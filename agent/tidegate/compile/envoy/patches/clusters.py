"""Patches of clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.compile.envoy.patches.lists import Failures, merged, tried
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import ApplyTo, ClusterMatch, Patch, PatchOperation

_ANY_MATCH = ClusterMatch()
CHANGES = frozenset({PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST})


def fits(patch: Patch, fqdn: str, port: int, subset: str) -> bool:
    """Whether a patch changes the cluster of a service port and subset. Names are Istio's."""
    match = patch.cluster or _ANY_MATCH
    if patch.operation not in CHANGES:
        return False
    if match.name:
        return match.name == f"outbound|{port}|{subset}|{fqdn}"
    return match.port in (0, port) and match.service in ("", fqdn) and match.subset in ("", subset)


def added(patches: Sequence[Patch]) -> dict[str, Patch]:
    """Clusters that are added, by name; of two of a name the first."""
    out: dict[str, Patch] = {}
    for patch in patches:
        name = patch.value.get("name")
        if patch.operation is PatchOperation.ADD and isinstance(name, str) and name:
            out.setdefault(name, patch)
    return out


def patched(body: Mapping[str, Any], patches: Sequence[Patch], failures: Failures) -> Json:
    """A cluster with all of these patches that can be applied."""
    message = message_of(MESSAGES[ApplyTo.CLUSTER], body)
    for patch in patches:
        with tried(message, patch, failures):
            change(message, patch)
    return to_json(message)


def change(message: Any, patch: Patch) -> None:
    """Do to a cluster what a patch says. Raises Rejected."""
    value: Any = message_of(MESSAGES[ApplyTo.CLUSTER], patch.value)
    if value.name not in ("", message.name):
        raise Rejected("name", "of a cluster cannot be changed: routes lead to it by its name")
    if value.WhichOneof("cluster_discovery_type") or value.HasField("load_assignment"):
        # Where endpoints come from is also said by routes, scopes and what the agent sends.
        raise Rejected("type and load_assignment", "cannot be changed", "write a ServiceEntry, or ADD a cluster")
    merged(message, patch.operation, value)
