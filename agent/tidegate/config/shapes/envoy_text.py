"""Texts that Envoy puts into a message, or fills in first: values of headers and what they may hold.

What is between two % is a field that Envoy knows (its "command operators"). FIELDS has those that a rule may use here;
`tests/unit/config/test_envoy_text.py` asks the real Envoy about each. Left out on purpose: ENVIRONMENT, which would
show the environment of a process of the node to whoever may write a rule, and CEL and COALESCE, which are languages of
their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from tidegate.config import messages as say
from tidegate.config.limits import HEADER_BYTES, HOST_BYTES
from tidegate.config.schema import words
from tidegate.model.hosts import is_address

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5: of these only a tab may be in a value
_LABEL = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(\*|(\*-?)?{_LABEL})(\.{_LABEL})*", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^:]+))(:[0-9]{1,5})?")
_SAFE = "/%:@!$&'()*+,;=~?\\"  # RFC 3986, 3.3, what is escaped already, a query, and groups of a substitution
_COMMAND = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]{1,9}))?%")
_NAME = r":?[!#$&'*+.^_`|~0-9A-Za-z-]+"

# Name -> what may stand in its parentheses; (?!) is nothing at all.
_BARE = words("""
    ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
    CUSTOM_FLAGS DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
    DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_PORT
    DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION
    DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS
    DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_PORT
    DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_DNS_SAN
    DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER
    DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS
    DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION
    DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DURATION
    FILTER_CHAIN_NAME GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY PROTOCOL REQUEST_DURATION REQUEST_HEADERS_BYTES
    REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES
    RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUTE_NAME STREAM_ID TLS_JA3_FINGERPRINT TRACE_ID UNIQUE_ID
    UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_POOL_READY_DURATION
    UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE
    UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOST_NAME
    UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN
    UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN
    UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL
    UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TLS_CIPHER
    UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
    UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
    DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
    DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
""")
_TIMES = words("""
    START_TIME START_TIME_LOCAL EMIT_TIME EMIT_TIME_LOCAL DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CERT_V_END
    UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_CERT_V_END
""")
_HEADERS = words("REQ RESP TRAILER REQUEST_HEADER RESPONSE_HEADER RESPONSE_TRAILER")
FIELDS: Mapping[str, str] = {
    **dict.fromkeys(_BARE, "(?!)"),
    **dict.fromkeys(_TIMES, "[^()%]*(%[^()]*)?"),
    **dict.fromkeys(_HEADERS, rf"{_NAME}(\?{_NAME})?"),
    "RESPONSE_CODE_DETAILS": "ALLOW_WHITESPACES",
    "GRPC_STATUS": "CAMEL_STRING|SNAKE_STRING|NUMBER",
    "QUERY_PARAM": "[^()?]+",
    "DYNAMIC_METADATA": "[^()]+",
    "CLUSTER_METADATA": "[^()]+",
    "UPSTREAM_METADATA": "[^()]+",
    "FILTER_STATE": "[^():]+(:PLAIN|:TYPED)?",
    "UPSTREAM_FILTER_STATE": "[^():]+(:PLAIN|:TYPED)?",
}
NEEDS_ARGUMENT = (
    _HEADERS
    | words("QUERY_PARAM DYNAMIC_METADATA CLUSTER_METADATA UPSTREAM_METADATA FILTER_STATE")
    | {"UPSTREAM_FILTER_STATE"}
)
TAKES_LENGTH = _HEADERS | words("QUERY_PARAM DYNAMIC_METADATA FILTER_STATE UPSTREAM_FILTER_STATE")


def unknown_field(text: str) -> str | None:
    """The first part of a header's value that begins with % and is nothing that Envoy can fill in; None: all is."""
    at = text.find("%")
    while at >= 0:
        end = at + 2
        if text[at + 1 : at + 2] != "%":
            command = _COMMAND.match(text, at)
            if command is None or not _is_known(*command.groups()):
                following = text.find("%", at + 1)
                return text[at : following + 1] if 0 <= following < at + 60 else text[at : at + 20]
            end = command.end()
        at = text.find("%", end)
    return None


def _is_known(name: str, argument: str | None, length: str | None) -> bool:
    allowed = FIELDS.get(name)
    if allowed is None or (length is not None and name not in TAKES_LENGTH):
        return False
    return name not in NEEDS_ARGUMENT if not argument else re.fullmatch(allowed, argument) is not None


def one_line(text: str) -> str:
    """The text, if it can be the value of a header. Raises Wrong."""
    if (found := _CONTROL.search(text)) is not None:
        what = {"\r": "a line break", "\n": "a line break", "\0": "a zero byte"}.get(found[0], "a control character")
        raise say.Wrong(say.LINE_BREAK(what=what))
    if len(text.encode()) > HEADER_BYTES:
        raise say.Wrong(say.OUT_OF_BOUNDS(detail=f"is longer than {HEADER_BYTES} bytes"))
    return text


def is_host(text: str) -> bool:
    """Whether it can be a host of the API: a name in DNS, perhaps with a * in front, or an address."""
    return is_address(text) or (len(text) <= HOST_BYTES and _HOST.fullmatch(text) is not None)


def is_partial(host: str) -> bool:
    """Whether a part of a label is left open, which the names of TLS connections do not know (Envoy's server_names)."""
    return host.startswith("*") and host != "*" and not host.startswith("*.")


def odd_target(text: str, *, fragment: bool = False) -> str:
    """Why servers refuse a request whose target has this in it (RFC 9112, 3.2); empty if they need not. fragment: what
    stands behind a # may be there, as in an address that a browser is sent to."""
    if text.isascii() and text.isprintable() and " " not in text and (fragment or "#" not in text):
        return ""
    return f"servers refuse it; write {quote(text, safe=_SAFE + '#' if fragment else _SAFE)!r}"


def odd_authority(text: str) -> str:
    """Why nobody can be asked for by this name, perhaps with a port; empty if somebody can."""
    found = _AUTHORITY.fullmatch(text)
    host = found["six"] or found["host"] if found else text
    return "" if is_host(host) and not host.startswith("*") else "no host has this name"


OneLine = Annotated[str, AfterValidator(one_line)]
