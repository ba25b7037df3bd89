"""One message merged into another.

As protobuf merges (what is set wins, lists grow, messages are merged inside, of a oneof the newer member stays), but
for three things: a duration and a wrapped value are replaced whole, since half of one with half of another means
nothing; an Any is merged inside if both are of one message; and a map's entry is replaced.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tidegate.compile.envoy.prototypes import message_class
from tidegate.errors import Rejected

_WHOLE = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Duration", "Timestamp", "Struct", "Value", "ListValue"),
        *("BoolValue", "StringValue", "BytesValue", "DoubleValue", "FloatValue"),
        *("Int32Value", "Int64Value", "UInt32Value", "UInt64Value"),
    )
)
_ANY = "google.protobuf.Any"


def merge(into: Message, patch: Message, replace_lists: bool = False) -> None:
    """Merge patch into a message of the same kind. replace_lists: a list takes the place of the one that is there.

    Raises Rejected if an Any in the patch is another message than the one that it meets.
    """
    if into.DESCRIPTOR.full_name == _ANY:
        _merge_any(into, patch, replace_lists)
        return
    for field, value in patch.ListFields():
        _merge_field(into, field, value, replace_lists)


def _merge_field(into: Message, field: FieldDescriptor, value: Any, replace_lists: bool) -> None:
    inner = field.message_type
    if field.is_repeated:
        target = getattr(into, field.name)
        if inner is not None and inner.GetOptions().map_entry:
            for key in value:
                if inner.fields_by_name["value"].message_type is None:
                    target[key] = value[key]
                else:
                    target[key].CopyFrom(value[key])
            return
        if replace_lists:
            into.ClearField(field.name)
            target = getattr(into, field.name)
        target.extend(value)
    elif inner is None:
        setattr(into, field.name, value)
    else:
        target = getattr(into, field.name)
        if inner.full_name in _WHOLE or not into.HasField(field.name):
            target.CopyFrom(value)
        else:
            merge(target, value, replace_lists)


def _merge_any(into: Any, patch: Any, replace_lists: bool) -> None:
    if not into.type_url:
        into.CopyFrom(patch)
        return
    if not patch.type_url:
        return
    there, new = (any_.type_url.rpartition("/")[2] for any_ in (into, patch))
    if there != new:
        raise Rejected(f"a {new}", f"cannot be merged into a {there}", "use REPLACE, or REMOVE and ADD")
    kind = message_class(there)
    base, change = kind(), kind()
    into.Unpack(base)
    patch.Unpack(change)
    merge(base, change, replace_lists)
    into.Pack(base, deterministic=True)
