"""What stands between Envoy's HTTP and the socket to an endpoint: TLS that begins here, and the PROXY protocol. Pure.

Certificates and keys are Secrets of their own (envoy/secrets.py, envoy/identities.py): a cluster stays as it is when
they change. Those of files Envoy reads itself, and no key of those is ever in the agent's memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.compile.envoy.identities import each_its_own
from tidegate.compile.envoy.in_files import authorities_in_files, pair_in_files
from tidegate.compile.envoy.protojson import Json, ads, named
from tidegate.model.hosts import is_address
from tidegate.model.identity import ROOTS
from tidegate.model.secret import AUTHORITIES_OF
from tidegate.model.tls_files import SYSTEM
from tidegate.model.traffic import ClientTls, TlsMode, TrafficPolicy

_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PROXY = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
CREDENTIAL = "kubernetes://"  # before the name of a Secret of Kubernetes, as Istio has it
_CERTIFICATE, _AUTHORITIES = "file-cert:", "file-root:"  # how their names begin, as Istio's


def transport_socket(settings: TrafficPolicy) -> Json | None:
    """envoy.config.core.v3.TransportSocket of a cluster; None for a plain one."""
    tls = settings.tls if settings.tls is not None and settings.tls.originates else None
    inner = named("envoy.transport_sockets.tls", _CONTEXT, **_tls(tls)) if tls else None
    if settings.proxy_protocol is None:
        return inner
    return named(
        "envoy.transport_sockets.upstream_proxy_protocol",
        _PROXY,
        config={"version": settings.proxy_protocol.value},
        transport_socket=inner or named("envoy.transport_sockets.raw_buffer", _RAW),
    )


def of_connections(settings: TrafficPolicy, host: str) -> TrafficPolicy:
    """What holds for connections in which there is no request that names a host: the service's own name stands for it.

    It is asked for in the handshake. Whose certificate it has to be is said by subjectAltNames; without, and without
    authorities of the rule's own, by that name, since everybody has a certificate of some authority of the system's.
    """
    tls = settings.tls
    if tls is None or not tls.originates:
        return settings
    if tls.mode is TlsMode.ISTIO_MUTUAL:
        return settings  # of_the_mesh() said both
    name = tls.sni or ("" if host.startswith("*") or is_address(host) else host)
    names = tls.names or ((name,) if name and not (tls.ca or tls.credential) and tls.verify else ())
    return replace(settings, tls=replace(tls, sni=name, names=names))


def secret_names(settings: TrafficPolicy) -> Iterator[str]:
    """Names of the Secrets without which the socket cannot be opened. What each of many clients shows is none: it is
    asked for when the client connects."""
    tls = settings.tls
    if tls is not None and tls.mode is TlsMode.ISTIO_MUTUAL:
        yield from (*filter(None, [tls.own]), ROOTS)
    elif tls is not None and tls.originates:
        if _shows_itself(tls):
            yield _pair(tls)
        if tls.verify:
            yield _roots(tls)


def file_secrets(tls: ClientTls) -> Iterator[tuple[str, Json]]:
    """Name and body of each Secret of a policy's files (envoy.extensions.transport_sockets.tls.v3.Secret)."""
    for name in secret_names(TrafficPolicy(tls=tls)):
        if name.startswith(_CERTIFICATE):
            yield name, pair_in_files(name, tls.certificate, tls.key)
        else:
            yield name, authorities_in_files(name, tls.ca or SYSTEM, tls.crl)


def _tls(tls: ClientTls) -> Json:
    """Without ALPN: Envoy then names the protocol that it is going to speak, which a client may have chosen. Who is of
    the mesh is known by names of Istio's there (identities.py)."""
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    }
    of_the_mesh = tls.mode is TlsMode.ISTIO_MUTUAL
    if of_the_mesh and not tls.own:
        common["custom_tls_certificate_selector"] = each_its_own()
    elif of_the_mesh or _shows_itself(tls):
        common["tls_certificate_sds_secret_configs"] = [_sds(tls.own if of_the_mesh else _pair(tls))]
    if tls.verify:
        wanted: Json = {}
        if tls.names:
            wanted["match_typed_subject_alt_names"] = [
                {"san_type": _san_type(name), "matcher": {"exact": name}} for name in tls.names
            ]
        common["combined_validation_context"] = {
            "default_validation_context": wanted,
            "validation_context_sds_secret_config": _sds(ROOTS if of_the_mesh else _roots(tls)),
        }
    out: Json = {"common_tls_context": common}
    if tls.protocols:
        common["alpn_protocols"] = list(tls.protocols)
    if of_the_mesh:
        # A session that one client began must not be another's: it would be resumed as the first one's.
        out["max_session_keys"] = 0
    if tls.sni:
        out["sni"] = tls.sni
    return out


def _san_type(name: str) -> str:
    if "://" in name:
        return "URI"
    return "IP_ADDRESS" if is_address(name) else "DNS"


def _shows_itself(tls: ClientTls) -> bool:
    return tls.mode is TlsMode.MUTUAL and bool(tls.certificate or tls.credential)


def _pair(tls: ClientTls) -> str:
    if tls.credential:
        return f"{CREDENTIAL}{tls.credential}"
    return f"{_CERTIFICATE}{tls.certificate}~{tls.key}"


def _roots(tls: ClientTls) -> str:
    if tls.credential:
        return f"{CREDENTIAL}{tls.credential}{AUTHORITIES_OF}"
    revoked = f"~{tls.crl}" if tls.crl else ""
    return f"{_AUTHORITIES}{tls.ca or 'system'}{revoked}"


def _sds(name: str) -> Json:
    """A cluster that waits for ever would keep Envoy from confirming any other."""
    return {"name": name, "sds_config": {**ads(), "initial_fetch_timeout": "1s"}}
