"""What is dumped can be put into a ticket: it shows the plan, and no key."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from udpa.annotations import sensitive_pb2

from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS, EnvoyResource
from tidegate.observe.dump import REDACTED, SENSITIVE, dump

KEY = "-----BEGIN PRIVATE KEY-----"
DATA = {"inline_string": KEY}
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@pytest.mark.parametrize(
    "body",
    [
        {"tls_certificate": {"certificate_chain": {"inline_string": "chain"}, "private_key": DATA}},
        {"tls_certificate": {"pkcs12": {"inline_bytes": KEY}, "password": DATA}},
        {"session_ticket_keys": {"keys": [DATA]}},
        {"generic_secret": {"secret": DATA, "secrets": {"a": DATA}}},
        {"a_kind_that_is_not_known_yet": DATA},
    ],
)
def test_of_a_secret_only_its_name_and_kind_are_told(body: dict[str, object]) -> None:
    secret = EnvoyResource("spiffe://cluster.local/ns/a/sa/b", {"name": "spiffe://cluster.local/ns/a/sa/b", **body})
    told = dump(Plan(1, envoy={SECRETS: {secret.name: secret}}))
    assert KEY not in json.dumps(told)
    assert told[SECRETS] == [{"name": secret.name, **dict.fromkeys(body, REDACTED)}]


@pytest.mark.parametrize("kind", [LISTENERS, CLUSTERS])
def test_a_key_in_another_resource_is_left_out_and_the_rest_is_told(kind: str) -> None:
    context = {
        "@type": f"{TLS}.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{"certificate_chain": {"filename": "/c"}, "private_key": DATA}]},
    }
    body = {"name": "x", "filter_chains": [{"transport_socket": {"typed_config": context}}]}
    before = deepcopy(body)
    told = dump(Plan(1, envoy={kind: {"x": EnvoyResource("x", body)}}))
    assert KEY not in json.dumps(told)
    certificate = told[kind][0]["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    assert certificate["tls_certificates"] == [{"certificate_chain": {"filename": "/c"}, "private_key": REDACTED}]
    assert body == before, "what is in force stays as it is"


def test_what_is_no_secret_is_dumped_as_it_is() -> None:
    body = {"name": "c", "type": "EDS", "circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
    assert dump(Plan(1, envoy={CLUSTERS: {"c": EnvoyResource("c", body)}}))[CLUSTERS] == [body]


def test_every_field_that_envoy_calls_sensitive_is_known() -> None:
    fields = [
        (message.full_name, field.name)
        for module in (secret_pb2, common_pb2)
        for message in module.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.GetOptions().Extensions[sensitive_pb2.sensitive]
        and message.name != "PrivateKeyProvider"  # stands in private_key_provider only
    ]
    assert len(fields) > 4
    assert [name for name in fields if name[1] not in SENSITIVE] == []
