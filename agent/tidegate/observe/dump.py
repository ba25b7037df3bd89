"""The plan as people may read it: everything but secrets.

A dump is copied into tickets. So of a secret only its name and its kind are told, and wherever else Envoy's API has a
field for a key or a password, its value is left out. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import SECRETS, EnvoyResource

REDACTED: Final = "[redacted]"
# Fields of Envoy's API that are annotated as sensitive (envoy.extensions.transport_sockets.tls.v3, core.v3, ...).
SENSITIVE: Final = frozenset(
    {
        *("private_key", "private_key_provider", "pkcs12", "password", "keys", "secret", "secrets"),
        *("session_ticket_keys", "generic_secret", "token_secret", "hmac_secret"),
    }
)


def dump(plan: Plan) -> dict[str, Any]:
    """Envoy's resources in proto-JSON by kind, and as `l4` what the fast path serves."""
    out: dict[str, Any] = {
        kind: [resource(kind, r) for r in resources.values()] for kind, resources in plan.envoy.items()
    }
    out["l4"] = [
        {
            "name": s.name,
            "addresses": [f"{a} {p}" for a, p in s.addresses],
            "balancing": s.balancing.name,
            "endpoints": [{"address": str(e.address), "port": e.port, "weight": e.weight} for e in s.endpoints],
        }
        for s in plan.l4
    ]
    return out


def resource(kind: str, one: EnvoyResource) -> dict[str, Any]:
    """The body of a resource; of a secret only which fields it has."""
    if kind == SECRETS:
        return {"name": one.name, **{key: REDACTED for key in one.body if key != "name"}}
    body: dict[str, Any] = _redacted(one.body)
    return body


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: REDACTED if k in SENSITIVE else _redacted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(v) for v in value]
    return value
