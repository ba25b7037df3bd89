"""Secrets of Kubernetes by which pods begin TLS -> Secrets of Envoy, with what is in them. Pure.

Only those that a rule names for the pods that it selects: of all others the node's Envoy learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tidegate.compile.envoy.clusters import credential
from tidegate.compile.envoy.secrets import tls_of
from tidegate.compile.envoy.upstream_tls import secret_names
from tidegate.compile.gateway.tls import Materials, secret_if_there
from tidegate.model.plan.envoy import ResourcesByName
from tidegate.model.secret import Secret
from tidegate.model.traffic import DestinationRule, TrafficPolicy


def pod_secrets(rules: Iterable[DestinationRule], secrets: Iterable[Secret]) -> ResourcesByName:
    """By the names under which clusters ask for them; what nobody has is left out."""
    names: set[str] = set()
    for rule in rules:
        for tls in tls_of(rule) if rule.selector is not None else ():
            own = credential(TrafficPolicy(tls=tls), f"{rule.namespace}/{rule.name}")
            if own:
                names.update(secret_names(TrafficPolicy(tls=replace(tls, credential=own))))
    materials = Materials({f"{secret.namespace}/{secret.name}": secret for secret in secrets} if names else {})
    found = {name: secret_if_there(name, materials) for name in sorted(names)}
    return {name: secret for name, secret in found.items() if secret is not None}
