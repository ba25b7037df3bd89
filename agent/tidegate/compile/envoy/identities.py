"""Mutual TLS of the mesh in Envoy's words: whose certificate a connection shows, and what both sides call it. Pure.

One cluster serves many clients. Which of them a connection is for is in its filter state, written by the listener of
the client's own network namespace, so nothing that a client sends can change it; Envoy asks for the certificate of that
name when the first handshake needs it. Connections of clients are kept apart by the same value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tidegate.compile.envoy.inline import certificate_secret, trusted_secret
from tidegate.compile.envoy.protojson import Json, ads, named
from tidegate.model.identity import OWN, ROOTS, Certified, Identity
from tidegate.model.kube import ServicePort
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.traffic import ConnectionPool

WHOSE = "envoy.tls.certificate_mappers.on_demand_secret"  # Envoy's own name for it, which nobody may choose
NOBODY = "nobody"  # whose certificate is asked for where a listener says nothing: there is none


def shows(secret: str) -> Json:
    """What a listener says of each connection: the name of the client's certificate
    (envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue)."""
    return {
        "object_key": WHOSE,
        "factory_key": "envoy.hashable_string",  # hashable: connections are shared only by those with the same value
        "format_string": {"text_format_source": {"inline_string": secret}},
        "shared_with_upstream": "ONCE",
    }


def each_its_own() -> Json:
    """The extension by which a cluster's connections show what shows() says of them.

    Envoy subscribes to such a name apart from names that stand in a transport socket, and of two subscriptions of one
    name only the first hears of it: so nobody else asks for identities of pods.
    """
    mapper = "envoy.extensions.transport_sockets.tls.cert_mappers.filter_state_override.v3.Config"
    selector = "envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config"
    by_state = named("envoy.tls.upstream_certificate_mappers.filter_state_override", mapper, default_value=NOBODY)
    return named(
        "envoy.tls.certificate_selectors.on_demand_secret", selector, config_source=ads(), certificate_mapper=by_state
    )


def protocols(port: ServicePort, pool: ConnectionPool) -> tuple[str, ...]:
    """What a client of the mesh offers (ALPN), so that a server's proxy knows it: Istio's names, then what is spoken
    for servers that have no proxy. Whoever speaks its client's protocol can name only what servers with a proxy take
    for either, and what nearly all clients speak. istio-peer-exchange is not offered: it promises a header that only
    Istio's own Envoy sends."""
    if not port.protocol.is_http:
        return ("istio",)
    http2 = port.protocol.is_http2 if pool.h2_upgrade is None else pool.h2_upgrade or port.protocol.is_http2
    if pool.client_protocol or (pool.h2_upgrade is None and not http2):
        return ("istio", "http/1.1")
    return ("istio-h2", "istio", "h2") if http2 else ("istio-http/1.1", "istio", "http/1.1")


def server_name(port: int, subset: str, fqdn: str) -> str:
    """What a client of the mesh asks for (SNI), as Istio's do: gateways between networks choose by it."""
    return f"outbound_.{port}_.{subset}_.{fqdn}"


def identity_secrets(held: Mapping[Identity, Certified]) -> dict[str, EnvoyResource]:
    """Certificates of identities by the names under which Envoy asks for them, and who may sign others'."""
    made = [
        certificate_secret(name, held[one].chain, held[one].key)
        for one in sorted(held)
        for name in (one.secret, one.served_by)
    ]
    if (roots := b"".join(dict.fromkeys(held[one].roots for one in sorted(held)))) != b"":
        made.append(trusted_secret(ROOTS, roots, next(iter(held.values())).revoked))
    return {secret.name: secret for secret in made}


def own_secrets(held: Mapping[Identity, Certified]) -> dict[str, EnvoyResource]:
    """As identity_secrets(), for a program that is one workload: under the name of its own; nothing if it has none."""
    own = next(iter(held.values()), None)
    if own is None:
        return {}
    return {OWN: certificate_secret(OWN, own.chain, own.key), ROOTS: trusted_secret(ROOTS, own.roots, own.revoked)}


def server_context(secret: str, trust_domains: Iterable[str], alpn: Sequence[str] = ()) -> Json:
    """envoy.config.core.v3.TransportSocket of a server that only clients of the mesh get through. secret: name of its
    certificate; trust_domains: one of which a client's name has to be in."""
    prefixes = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{domain}/ns/"}} for domain in trust_domains]
    common: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [_sds(secret)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": prefixes},
            "validation_context_sds_secret_config": _sds(ROOTS),
        },
        "alpn_protocols": list(alpn),
    }
    context = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return named("envoy.transport_sockets.tls", context, common_tls_context=common, require_client_certificate=True)


def _sds(name: str) -> Json:
    """A listener that waits for ever would keep its pod waiting, too: without its certificate it ends handshakes."""
    return {"name": name, "sds_config": {**ads(), "initial_fetch_timeout": "1s"}}


def names_in(trust_domains: Iterable[str], identities: Iterable[Identity]) -> tuple[str, ...]:
    """What servers with these identities may call themselves."""
    domains = list(trust_domains)
    return tuple(dict.fromkeys(one.spiffe(domain) for one in sorted(set(identities)) for domain in domains))
