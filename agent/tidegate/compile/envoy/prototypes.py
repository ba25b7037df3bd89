"""Protobuf message classes by full name, imported when first needed.

The generated package of a proto is its proto package (envoy.config.route.v3 -> envoy/config/route/v3/*_pb2.py), so a
name is enough to find its module and nobody keeps a list of extensions.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tidegate.compile.envoy.newer import add_newer, needed_first
from tidegate.errors import Rejected

_PACKAGE = re.compile(r"(envoy|google\.protobuf|google\.rpc|udpa|xds)(\.[a-z0-9_]+)*")


def message_class(full_name: str) -> type[Message]:
    """The class of a message such as ``envoy.config.route.v3.RouteConfiguration``. Raises Rejected if unknown."""
    pool = descriptor_pool.Default()
    try:
        descriptor = pool.FindMessageTypeByName(full_name)
    except KeyError:
        _import_package(full_name)
        try:
            descriptor = pool.FindMessageTypeByName(full_name)
        except KeyError:
            descriptor = _newer(full_name)
    return message_factory.GetMessageClass(descriptor)


def _newer(full_name: str) -> Descriptor:
    """A message that the generated package does not have yet. Raises Rejected."""
    for needed in needed_first(full_name):
        message_class(needed)
    add_newer(full_name)
    try:
        return descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        raise Rejected(
            f"type {full_name}", "is not a message that this agent knows", "check the @type for a typing error"
        ) from None


def load_nested_types(body: object) -> None:
    """Import the messages that the ``@type`` members anywhere in a proto-JSON value name. Raises Rejected."""
    for url in _type_urls(body):
        message_class(url.rpartition("/")[2])


def _type_urls(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        url: Any = value.get("@type")
        if isinstance(url, str):
            yield url
        for item in value.values():
            yield from _type_urls(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _type_urls(item)


def _import_package(full_name: str) -> None:
    package = full_name.rpartition(".")[0]
    # Names come from users' patches: only generated modules of Envoy's API may be imported because of them.
    if not _PACKAGE.fullmatch(package):
        return
    try:
        parent = importlib.import_module(package)
    except ImportError:
        return
    for module in pkgutil.iter_modules(parent.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
