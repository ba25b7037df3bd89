"""Certificates of a gateway's servers: Envoy's TLS contexts and the secrets that they name. Pure.

A context names its certificates, and Envoy is told of them by themselves: a new certificate touches no listener, and
so no connection. A name that led nowhere would keep a listener waiting, so a server without its certificate has no
context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tidegate.compile.envoy.identities import server_context as mesh_server_context
from tidegate.compile.envoy.in_files import authorities_in_files, pair_in_files
from tidegate.compile.envoy.inline import certificate_secret, trusted_secret
from tidegate.compile.envoy.protojson import Json, ads
from tidegate.compile.envoy.upstream_tls import CREDENTIAL
from tidegate.model.gateway import CertificateFiles, ServerTls, ServerTlsMode
from tidegate.model.identity import OWN, ROOTS
from tidegate.model.plan.envoy import SECRETS, EnvoyResource, ResourceRef
from tidegate.model.secret import AUTHORITIES_OF, Secret

_ALPN_HTTP = ("h2", "http/1.1")
_SAN_TYPES = ("DNS", "URI", "EMAIL", "IP_ADDRESS")


@dataclass(frozen=True, slots=True)
class Materials:
    """What a workload can get at: Secrets of its namespace by name, and files, or what is wrong with them, by path.

    by_path: its proxy reads those files itself, so it is told where they are, and nobody looks into them here.
    """

    secrets: Mapping[str, Secret] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    wrong_files: Mapping[str, str] = field(default_factory=dict)
    of_the_mesh: Mapping[str, EnvoyResource] = field(default_factory=dict)  # OWN and ROOTS, once they are issued
    trust_domains: tuple[str, ...] = ()  # of clients of the mesh
    by_path: bool = False


class MissingMaterialError(Exception):
    """A server cannot have its certificate, or a cluster the secret by which it begins TLS; str() says why."""


class TlsContext(NamedTuple):
    """What a filter chain of a server needs."""

    transport_socket: Json
    secrets: tuple[EnvoyResource, ...]

    @property
    def refs(self) -> frozenset[ResourceRef]:
        return frozenset(ResourceRef(SECRETS, secret.name) for secret in self.secrets)


def server_context(tls: ServerTls, materials: Materials, *, http: bool) -> TlsContext:
    """The TLS of a server that ends it. Raises MissingMaterialError."""
    if tls.mode is ServerTlsMode.ISTIO_MUTUAL:
        return _of_the_mesh(tls, materials, http=http)
    certificates = [*_from_secrets(tls, materials), *_from_files(tls, materials)]
    common: Json = {
        "tls_params": _parameters(tls),
        "tls_certificate_sds_secret_configs": [_named(secret.name) for secret in certificates],
    }
    if http:
        common["alpn_protocols"] = list(_ALPN_HTTP)
    secrets = list(certificates)
    if tls.mode.asks_client:
        authorities = _authorities(tls, materials)
        secrets.append(authorities)
        common["combined_validation_context"] = {
            "default_validation_context": _conditions(tls),
            "validation_context_sds_secret_config": _named(authorities.name),
        }
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": common,
        "require_client_certificate": tls.mode is ServerTlsMode.MUTUAL,
    }
    return TlsContext({"name": "envoy.transport_sockets.tls", "typed_config": context}, tuple(secrets))


def _of_the_mesh(tls: ServerTls, materials: Materials, *, http: bool) -> TlsContext:
    """Mutual TLS by what the mesh gives to each workload."""
    secrets = tuple(_issued(name, materials) for name in (OWN, ROOTS))
    context = mesh_server_context(OWN, materials.trust_domains, _ALPN_HTTP if http else ())
    body = context["typed_config"]
    common = {**body["common_tls_context"], "tls_params": _parameters(tls)}
    if wanted := _conditions(tls):
        combined = common["combined_validation_context"]
        # Names that the rule says stand in place of those of whole trust domains.
        both = {**combined["default_validation_context"], **wanted}
        common["combined_validation_context"] = {**combined, "default_validation_context": both}
    return TlsContext({**context, "typed_config": {**body, "common_tls_context": common}}, secrets)


def _issued(name: str, materials: Materials) -> EnvoyResource:
    if name in materials.of_the_mesh:
        return materials.of_the_mesh[name]
    raise MissingMaterialError("the mesh has issued no certificate to this workload yet")


def _from_secrets(tls: ServerTls, materials: Materials) -> Iterator[EnvoyResource]:
    for name in tls.credentials:
        secret = _pair_of(name, materials)
        yield certificate_secret(f"kubernetes://{name}", secret.certificate, secret.key, (secret.origin,))


def _pair_of(name: str, materials: Materials) -> Secret:
    secret = materials.secrets.get(name)
    if secret is None:
        raise MissingMaterialError(_absent(name))
    if not secret.certificate:
        raise MissingMaterialError(f"Secret {name} has no certificate (tls.crt and tls.key, or cert and key)")
    return secret


def _absent(name: str) -> str:
    return f"Secret {name} is not in the namespace of the workload"


def _from_files(tls: ServerTls, materials: Materials) -> Iterator[EnvoyResource]:
    for pair in tls.files:
        name = file_name(pair)
        if materials.by_path:
            yield EnvoyResource(name, pair_in_files(name, pair.certificate, pair.key))
        else:
            yield certificate_secret(name, _file(materials, pair.certificate), _file(materials, pair.key), ())


def file_name(pair: CertificateFiles) -> str:
    """What Istio calls the secret of such files."""
    return f"file-cert:{pair.certificate}~{pair.key}"


def _file(materials: Materials, path: str) -> bytes:
    if path in materials.files:
        return materials.files[path]
    raise MissingMaterialError(f"file {path} {materials.wrong_files.get(path, 'was not read yet')}")


def _authorities(tls: ServerTls, materials: Materials) -> EnvoyResource:
    """Who may sign clients: as Istio looks for them, the Secret NAME-cacert comes before Secret NAME."""
    listed = f"~{tls.crl_file}" if tls.crl_file else ""  # other servers may have the same authorities without a list
    by_path = materials.by_path
    crl = _file(materials, tls.crl_file) if tls.crl_file and not by_path else b""
    if tls.ca_file and not tls.ca_credential:
        name = f"file-root:{tls.ca_file}{listed}"
        if by_path:
            return EnvoyResource(name, authorities_in_files(name, tls.ca_file, tls.crl_file))
        return trusted_secret(name, _file(materials, tls.ca_file), crl, ())
    names = [tls.ca_credential] if tls.ca_credential else [f"{tls.credentials[0]}-cacert", tls.credentials[0]]
    for name in names:
        secret = materials.secrets.get(name)
        if secret is not None and secret.ca:
            label = f"{name.removesuffix('-cacert')}-cacert{listed}"
            made = trusted_secret(f"kubernetes://{label}", secret.ca, crl or secret.crl, (secret.origin,))
            return _with_list(made, tls.crl_file) if by_path and tls.crl_file else made
    raise MissingMaterialError(_no_authorities(names))


def _with_list(made: EnvoyResource, path: str) -> EnvoyResource:
    """What a Secret trusts, less what is revoked by a file that the proxy reads itself."""
    context = {**made.body["validation_context"], "crl": {"filename": path}}
    return replace(made, body={**made.body, "validation_context": context})


def secret_if_there(name: str, materials: Materials) -> EnvoyResource | None:
    """As secret_for(); None if there is none."""
    try:
        return secret_for(name, materials)
    except MissingMaterialError:
        return None


def secret_for(name: str, materials: Materials) -> EnvoyResource:
    """A secret by which a gateway begins TLS to a server (credentialName). Raises MissingMaterialError."""
    if name in (OWN, ROOTS):
        return _issued(name, materials)
    wanted = name.removeprefix(CREDENTIAL)
    own = wanted.removesuffix(AUTHORITIES_OF)
    if wanted == own:
        found = _pair_of(own, materials)
        return certificate_secret(name, found.certificate, found.key, (found.origin,))
    those = materials.secrets.get(wanted), materials.secrets.get(own)
    if those == (None, None):
        raise MissingMaterialError(_absent(own))
    for secret in those:
        if secret is not None and secret.ca:
            return trusted_secret(name, secret.ca, secret.crl, (secret.origin,))
    raise MissingMaterialError(_no_authorities([wanted, own]))


def _no_authorities(names: Iterable[str]) -> str:
    return f"no Secret {' or '.join(names)} with ca.crt or cacert is in the namespace of the workload"


def _conditions(tls: ServerTls) -> Json:
    out: Json = {}
    if tls.subject_alt_names:
        out["match_typed_subject_alt_names"] = [
            {"san_type": kind, "matcher": {"exact": name}} for name in tls.subject_alt_names for kind in _SAN_TYPES
        ]
    if tls.spki:
        out["verify_certificate_spki"] = list(tls.spki)
    if tls.hashes:
        out["verify_certificate_hash"] = list(tls.hashes)
    return out


def _parameters(tls: ServerTls) -> Json:
    out: Json = {"tls_minimum_protocol_version": tls.min_version or "TLSv1_2"}
    if tls.max_version:
        out["tls_maximum_protocol_version"] = tls.max_version
    if tls.ciphers:
        out["cipher_suites"] = list(tls.ciphers)
    return out


def _named(secret: str) -> Json:
    return {"name": secret, "sds_config": ads()}
