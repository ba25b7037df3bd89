"""Members of lists of a message (filters, chains, virtual hosts, routes): put in, taken out, replaced, merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from tidegate.compile.envoy.patches.merging import merge
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import Patch, PatchOperation

Matches = Callable[[Any], bool]


Failures = list[tuple[Patch, str]]


@contextmanager
def tried(message: Message, patch: Patch, failures: Failures) -> Iterator[None]:
    """All that the block does to a message for a patch; if it raises Rejected, nothing of it, and why in failures."""
    before = message.__class__()
    before.CopyFrom(message)
    try:
        yield
    except Rejected as error:
        message.CopyFrom(before)
        failures.append((patch, str(error)))


def change(
    members: MutableSequence[Any],
    operation: PatchOperation,
    value: Message,
    matches: Matches,
    *,
    anywhere: bool,
    first: int = 0,
    last: int | None = None,
) -> None:
    """Do to a repeated field what a patch says.

    matches: which members the patch names; anywhere: it names none, so something is put in without a neighbour.
    first, last: where members of ours end at the front, and begin at the end: nothing gets before or behind them.
    Raises Rejected for what cannot be merged.
    """
    end = len(members) if last is None else last
    found = [index for index in range(first, len(members)) if not anywhere and matches(members[index])]
    if operation is PatchOperation.ADD:
        members.insert(end, value)
    elif operation is PatchOperation.INSERT_FIRST:
        if anywhere or found:
            members.insert(first, value)
    elif operation is PatchOperation.INSERT_BEFORE:
        if anywhere or found:
            members.insert(first if anywhere else found[0], value)
    elif operation is PatchOperation.INSERT_AFTER:
        if anywhere or found:
            members.insert(end if anywhere else min(found[0] + 1, end), value)
    elif operation is PatchOperation.REPLACE:
        for index in found:
            members[index].CopyFrom(value)
    elif operation is PatchOperation.REMOVE:
        for index in reversed(found):
            del members[index]
    else:
        every = range(first, len(members)) if anywhere else found
        for index in every:
            merged(members[index], operation, value)


def merged(into: Message, operation: PatchOperation, value: Message) -> None:
    """Merge one message into another. Raises Rejected for another operation, and for what cannot be merged."""
    if operation not in (PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST):
        raise Rejected(operation.value, f"is not possible for a {into.DESCRIPTOR.name}", "write MERGE")
    merge(into, value, replace_lists=operation is PatchOperation.MERGE_AND_REPLACE_LIST)
