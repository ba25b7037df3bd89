"""Messages of Envoy's API that the generated package does not have yet, as far as they are used. Source: Envoy 1.40's
api/envoy/extensions/transport_sockets/tls/{cert_selectors/on_demand_secret,cert_mappers/filter_state_override}/v3.

When the package has them its own are used, and a row here can go.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool

_TLS = "envoy.extensions.transport_sockets.tls"
_CORE = "envoy.config.core.v3"
_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_ONE, _MANY = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED

# message -> (files that its fields are of, fields: name, number, type, label, message)
_MESSAGES = {
    f"{_TLS}.cert_selectors.on_demand_secret.v3.Config": (
        ("envoy/config/core/v3/config_source.proto", "envoy/config/core/v3/extension.proto"),
        (
            ("config_source", 1, _MESSAGE, _ONE, f".{_CORE}.ConfigSource"),
            ("certificate_mapper", 2, _MESSAGE, _ONE, f".{_CORE}.TypedExtensionConfig"),
            ("prefetch_secret_names", 3, _TEXT, _MANY, ""),
        ),
    ),
    f"{_TLS}.cert_mappers.filter_state_override.v3.Config": ((), (("default_value", 1, _TEXT, _ONE, ""),)),
}


def add_newer(full_name: str) -> None:
    """Make a message known, if it is one of these; what it is made of has to be already."""
    found = _MESSAGES.get(full_name)
    if found is None:
        return
    files, fields = found
    package, _, name = full_name.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}/config.proto", package=package, syntax="proto3", dependency=files
    )
    message = file.message_type.add(name=name)
    for field, number, kind, label, of in fields:
        message.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


def needed_first(full_name: str) -> tuple[str, ...]:
    """Messages that have to be known before one of these."""
    files, _ = _MESSAGES.get(full_name, ((), ()))
    return (f"{_CORE}.ConfigSource", f"{_CORE}.TypedExtensionConfig") if files else ()
