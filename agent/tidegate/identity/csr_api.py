"""istio.v1.auth.IstioCertificateService, whose one method CreateCertificate certifies a workload. Wire form as in
istio/api, security/v1alpha1/ca.proto.

The messages are declared here, of descriptors: a compiler of .proto files would be one more thing to install.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

METHOD: Final = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
SERVICE, NAME = METHOD[1:].split("/")
IMPERSONATED: Final = "ImpersonatedIdentity"  # in metadata: whom a node's agent asks for
AUDIENCE: Final = "istio-ca"  # of the tokens that callers show
AUTHORIZATION, BEARER, CLUSTER = "authorization", "Bearer ", "clusterid"  # gRPC metadata
MOST_MESSAGE: Final = 256 * 1024  # bytes, of an answer; requests are smaller

_FIELD = descriptor_pb2.FieldDescriptorProto
_FILE = "security/v1alpha1/ca.proto"
_PACKAGE = "istio.v1.auth"


def _field(name: str, number: int, sort: int, *, many: bool = False, message: str = "") -> Any:
    label = _FIELD.LABEL_REPEATED if many else _FIELD.LABEL_OPTIONAL
    return _FIELD(name=name, number=number, type=sort, label=label, type_name=message or None)  # type: ignore[arg-type]


def _declared() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name=_FILE, package=_PACKAGE, syntax="proto3", dependency=[struct_pb2.DESCRIPTOR.name]
    )
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.extend(
        [
            _field("csr", 1, _FIELD.TYPE_STRING),
            _field("validity_duration", 3, _FIELD.TYPE_INT64),  # seconds
            _field("metadata", 4, _FIELD.TYPE_MESSAGE, message=".google.protobuf.Struct"),
        ]
    )
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.append(_field("cert_chain", 1, _FIELD.TYPE_STRING, many=True))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool


_POOL: Final = _declared()
CertificateRequest: Any = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.IstioCertificateRequest")
)
CertificateResponse: Any = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.IstioCertificateResponse")
)


def certificate_request(csr: bytes, seconds: float, impersonated: str) -> Any:
    """IstioCertificateRequest. impersonated: empty = the caller's own identity."""
    made = CertificateRequest(csr=csr.decode("ascii"), validity_duration=max(1, round(seconds)))
    if impersonated:
        made.metadata.fields[IMPERSONATED].string_value = impersonated
    return made


def impersonated_in(request: Any) -> str:
    """Whom a request asks for in another's name; empty if it does not. Raises ValueError."""
    if IMPERSONATED not in request.metadata.fields:
        return ""
    value = request.metadata.fields[IMPERSONATED]
    if value.WhichOneof("kind") != "string_value" or not value.string_value:
        raise ValueError(f"{IMPERSONATED} is no text")
    return str(value.string_value)
