"""What is offered again after a refusal, in other words where the same words would be taken for known. Pure.

Envoy notes what a secret says before it reads the files that the secret names. Refused for a file that is missing, the
same content is confirmed when it comes again, unread: the file would seem to be there. So a secret that was refused
says the same otherwise: another spelling of the folder that is watched, or an empty line more behind what is inline.
"""

from __future__ import annotations

from dataclasses import replace

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tidegate.model.plan.envoy import SECRETS
from tidegate.xds.encode import Encoded


def in_other_words(encoded: Encoded, refusals: int) -> Encoded:
    """A resource as it is offered after so many refusals; the version, and what it means, stay."""
    if encoded.kind != SECRETS or not refusals:
        return encoded
    times = 2 - refusals % 2  # never as in the beginning, which a client may remember from an earlier stream
    secret = Secret.FromString(encoded.data)
    if secret.HasField("tls_certificate"):
        _reword(secret.tls_certificate, secret.tls_certificate.certificate_chain, times)
    elif secret.HasField("validation_context"):
        _reword(secret.validation_context, secret.validation_context.trusted_ca, times)
    return replace(encoded, data=secret.SerializeToString(deterministic=True))


def _reword(part: TlsCertificate | CertificateValidationContext, source: DataSource, times: int) -> None:
    if part.HasField("watched_directory"):
        part.watched_directory.path += "/." * times
    elif source.HasField("inline_bytes"):
        source.inline_bytes += b"\n" * times
