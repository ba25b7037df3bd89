"""Certificates that the agent has -> Secrets of Envoy with what is in them. Pure."""

from __future__ import annotations

import base64

from tidegate.compile.envoy.protojson import Json
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EnvoyResource


def certificate_secret(name: str, chain: bytes, key: bytes, origins: tuple[Origin, ...] = ()) -> EnvoyResource:
    """A certificate and its key, in PEM."""
    pair = {"certificate_chain": _inline(chain), "private_key": _inline(key)}
    return EnvoyResource(name, {"name": name, "tls_certificate": pair}, origins)


def trusted_secret(name: str, authorities: bytes, crl: bytes = b"", origins: tuple[Origin, ...] = ()) -> EnvoyResource:
    """Who may sign, and what of that is revoked, in PEM."""
    context: Json = {"trusted_ca": _inline(authorities)}
    if crl:
        context["crl"] = _inline(crl)  # of every authority on the way, as for pods (compile/envoy/upstream_tls.py)
    return EnvoyResource(name, {"name": name, "validation_context": context}, origins)


def _inline(pem: bytes) -> Json:
    return {"inline_bytes": base64.b64encode(pem).decode()}
