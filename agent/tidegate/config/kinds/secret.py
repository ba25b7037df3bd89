"""Secret: certificates and keys that Gateways and DestinationRules name by credentialName.

Of a Secret without any of the keys below nothing is kept. No value of one is ever part of a message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Topic
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.model.secret import Secret

# (certificate, key), authorities and revocations: as kubernetes.io/tls names them, then as Istio's opaque Secrets do.
PAIRS = (("tls.crt", "tls.key"), ("cert", "key"))
AUTHORITIES = ("ca.crt", "cacert")
REVOCATIONS = ("ca.crl", "crl")
_KNOWN = frozenset((*(name for pair in PAIRS for name in pair), *AUTHORITIES, *REVOCATIONS))


class SecretDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "type", "immutable"})
    metadata: Metadata
    data: dict[str, str] = Field(default_factory=dict)
    string_data: dict[str, str] = Field(default_factory=dict)


def read(doc: SecretDoc, place: Place, report: Report) -> Secret | None:
    values = dict(_values(doc, report))
    certificate = next((pair for pair in PAIRS if any(name in values for name in pair)), None)
    ca = next((name for name in AUTHORITIES if name in values), "")
    crl = next((name for name in REVOCATIONS if name in values), "")
    if certificate is None and not ca:
        return None
    if certificate is not None:
        _check_pair(doc, certificate, values, report)
    # Needs a library that takes time to load, so only who has such a document waits for it.
    from tidegate.config.shapes.certificates import authorities_problem, revocations_problem, unlisted_authorities

    wrong = False
    if ca and (reason := authorities_problem(values[ca])):
        wrong = True
        _say(doc, ca, say.NO_CERTIFICATE(name=ca, reason=reason), report)
    if crl and (reason := revocations_problem(values[crl])):
        wrong = True
        _say(doc, crl, say.NO_CERTIFICATE(name=crl, reason=reason), report)
    if ca and crl and not wrong:
        for authority in unlisted_authorities(values[ca], values[crl]):
            _say(doc, crl, say.UNLISTED(authority=authority), report)
    name_of_certificate, name_of_key = certificate or ("", "")
    return Secret(
        namespace=place.key.namespace,
        name=place.key.name,
        certificate=values.get(name_of_certificate, b""),
        key=values.get(name_of_key, b""),
        ca=values.get(ca, b""),
        crl=values.get(crl, b""),
        origin=place.origin,
    )


def _check_pair(doc: SecretDoc, pair: tuple[str, str], values: Mapping[str, bytes], report: Report) -> None:
    from tidegate.config.shapes.certificates import pair_problem

    have = [name for name in pair if name in values]
    if len(have) == 1:
        lacks = pair[1 - pair.index(have[0])]
        report.say(doc, _place(doc, have[0]), say.HALF_PAIR(have=have[0], lacks=lacks))
        return
    found = pair_problem(values[pair[0]], values[pair[1]])
    if found is not None:
        of_key, reason = found
        name = pair[of_key]
        said = say.NO_PRIVATE_KEY(name=name, reason=reason) if of_key else say.NO_CERTIFICATE(name=name, reason=reason)
        _say(doc, name, said, report)


def _values(doc: SecretDoc, report: Report) -> Iterable[tuple[str, bytes]]:
    """What there is of the keys that we know; stringData wins over data, as in Kubernetes."""
    for name in _KNOWN & doc.data.keys():
        try:
            yield name, base64.b64decode("".join(doc.data[name].split()), validate=True)
        except (binascii.Error, ValueError):
            report.say(doc, ("data", name), say.NO_BASE64(reason="write it under stringData if it is plain text"))
            yield name, b""
    for name in _KNOWN & doc.string_data.keys():
        yield name, doc.string_data[name].encode()


def _say(doc: SecretDoc, name: str, said: say.Said, report: Report) -> None:
    if not report.failed:
        report.say(doc, _place(doc, name), said)


def _place(doc: SecretDoc, name: str) -> tuple[str, str]:
    """Where a value was written."""
    return ("stringData" if name in doc.string_data else "data", name)


def provides(secret: Secret) -> Iterable[Topic]:
    return [("secret", secret.name)]


SECRET = Kind(group="", name="Secret", versions=("v1",), shape=SecretDoc, read=read, shelf="secrets", provides=provides)
