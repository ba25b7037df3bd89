"""Certificates that a proxy reads itself, from files of its own -> Secrets of Envoy that say where those are. Pure.

Envoy looks at a folder for a file that is moved into it, as kubelets do, and reads the files anew then.
"""

from __future__ import annotations

import posixpath

from tidegate.compile.envoy.protojson import Json


def pair_in_files(name: str, certificate: str, key: str) -> Json:
    """envoy.extensions.transport_sockets.tls.v3.Secret of a certificate and its key."""
    pair = {"certificate_chain": _file(certificate), "private_key": _file(key)}
    return {"name": name, "tls_certificate": {**pair, "watched_directory": _watched(certificate)}}


def authorities_in_files(name: str, authorities: str, crl: str = "") -> Json:
    """The same of who may sign. crl: what is revoked, of every authority on the way to a certificate; "" = nothing."""
    context: Json = {"trusted_ca": _file(authorities), "watched_directory": _watched(authorities)}
    if crl:
        context["crl"] = _file(crl)
    return {"name": name, "validation_context": context}


def _file(path: str) -> Json:
    return {"filename": path}


def _watched(path: str) -> Json:
    return {"path": posixpath.dirname(path)}
