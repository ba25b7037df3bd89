"""Secrets of clients that are not ours: files that rules name are those of the client's own container, as upstream, and
may be told to everybody, since only their paths are told. What stands in a Secret is for who is known to be of its
namespace. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tidegate.compile.envoy.clusters import in_one_container
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.secrets import secrets
from tidegate.compile.envoy.upstream_tls import CREDENTIAL, file_secrets
from tidegate.compile.others.view import ClientView
from tidegate.model.plan.envoy import SECRETS, EnvoyResource, ResourceRef
from tidegate.model.tls_files import written_path
from tidegate.model.traffic import ClientTls, TlsMode

_FILES = ("file-cert:", "file-root:")  # how names of Secrets of files begin; then paths with "~" between them
_SDS = "sds_config"
Name = Callable[[str], str]


def with_secrets(
    view: ClientView, made: Iterable[EnvoyResource], given: Mapping[str, EnvoyResource]
) -> tuple[list[EnvoyResource], dict[str, EnvoyResource]]:
    """Clusters as the client has to ask for the Secrets in them, and those Secrets. given: of Secrets' own content."""
    files = {**secrets(view.read), **_of_the_mesh()}
    told: dict[str, EnvoyResource] = {}
    out: list[EnvoyResource] = []
    for plain in made:
        names: set[str] = set()
        socket = plain.body.get("transport_socket")
        body = plain.body if socket is None else {**plain.body, "transport_socket": _asking(view, socket, names)}
        found = {_shown(name): _as_written(files[name]) for name in names if name in files}
        found |= {name: given[name] for name in names if name.startswith(CREDENTIAL) and name in given}
        told |= found
        refs = frozenset(ref for ref in plain.refs if ref.kind != SECRETS)
        out.append(replace(plain, body=body, refs=refs | {ResourceRef(SECRETS, name) for name in found}))
    return out, told


def _of_the_mesh() -> dict[str, EnvoyResource]:
    """The files by which the client shows itself where a rule says mutual TLS of the mesh."""
    own = in_one_container(ClientTls(mode=TlsMode.ISTIO_MUTUAL))
    return {name: EnvoyResource(name, body) for name, body in file_secrets(own)}


def secret_names(made: EnvoyResource) -> list[str]:
    """Names of the Secrets that a cluster asks for."""
    return [ref.name for ref in made.refs if ref.kind == SECRETS]


def _asking(view: ClientView, value: Any, names: set[str]) -> Any:
    """Part of a transport socket with the client's way of asking for Secrets. names: gets those in it."""
    if isinstance(value, list):
        return [_asking(view, item, names) for item in value]
    if not isinstance(value, Mapping):
        return value
    if _SDS in value:
        names.add(value["name"])
        waits = {key: value[_SDS][key] for key in ("initial_fetch_timeout",) if key in value[_SDS]}
        return {"name": _shown(value["name"]), _SDS: {**view.client.sources.as_json(), **waits}}
    return {key: _asking(view, item, names) for key, item in value.items()}


def _shown(name: str) -> str:
    """The name of a Secret with the paths in it as they were written."""
    for start in _FILES:
        if name.startswith(start):
            return start + "~".join(map(written_path, name.removeprefix(start).split("~")))
    return name


def _as_written(secret: EnvoyResource) -> EnvoyResource:
    name = _shown(secret.name)
    return EnvoyResource(name, {**_paths(secret.body), "name": name}, secret.origins)


def _paths(value: Any) -> Any:
    """Part of a Secret with its paths as they were written."""
    if not isinstance(value, Mapping):
        return value
    out: Json = {key: _paths(item) for key, item in value.items()}
    if "filename" in value:
        out["filename"] = written_path(value["filename"])
    for kind in ("certificate_chain", "trusted_ca"):
        if kind in out and "watched_directory" in out:
            out["watched_directory"] = {"path": posixpath.dirname(out[kind]["filename"])}
    return out
