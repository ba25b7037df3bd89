"""Answers of the API server, cut into what they consist of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from tidegate.config.sources.kube.decode import BrokenError
from tidegate.model.text import printable

MOST_LINE: Final = 64 << 20  # bytes; etcd holds objects of 1.5 MiB
LONGEST_WAIT_S: Final = 120.0  # that a server may ask for


class RefusedError(Exception):
    """The server answered, and did not give what was asked for."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        """code: as of HTTP; reason: the API's word; retry_after: seconds that the server asks us to wait."""
        super().__init__(message or reason or f"HTTP {code}")
        self.code, self.reason, self.retry_after = code, reason, retry_after

    def __str__(self) -> str:
        return printable(
            f"{self.code} {self.reason}: {self.args[0]}" if self.reason else f"{self.code}: {self.args[0]}"
        )


class Event(msgspec.Struct, gc=False):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class _Details(msgspec.Struct, gc=False):
    retryAfterSeconds: int = 0  # noqa: N815 - as it is written


class _Status(msgspec.Struct, gc=False):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str = ""  # noqa: N815 - as it is written
    more: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, gc=False):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. more: how to ask for the next one; empty if this is the last."""

    items: list[msgspec.Raw]
    revision: str
    more: str


class Lines:
    """Turns blocks of any size into lines. What has no end yet is kept until the end comes, or never told."""

    def __init__(self, most: int = MOST_LINE) -> None:
        self._most = most
        self._begun: list[bytes] = []
        self._length = 0

    def feed(self, block: bytes) -> list[bytes]:
        """The lines that end in this block. Raises BrokenError for one that is too long."""
        first, *others = block.split(b"\n")
        self._begun.append(first)
        self._length += len(first)
        if self._length > self._most:
            raise BrokenError(f"a line is longer than {self._most >> 20} MiB")
        if not others:
            return []
        lines = [b"".join(self._begun), *others]
        rest = lines.pop()
        self._begun, self._length = [rest], len(rest)
        return [line for line in lines if line]


def event(line: bytes) -> Event:
    """What a line of a watch says. Raises BrokenError, and RefusedError if the line is the server's error."""
    try:
        found = _EVENT.decode(line)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BrokenError(f"a line of the watch is no event: {error}") from None
    if found.type == "ERROR":
        raise refusal(0, bytes(found.object), {})
    return found


def page(body: bytes) -> Page:
    """What a list says. Raises BrokenError."""
    try:
        found = _PAGE.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BrokenError(f"the list is none: {error}") from None
    return Page(found.items or [], found.metadata.resourceVersion, found.metadata.more)


def refusal(code: int, body: bytes, headers: Mapping[str, str]) -> RefusedError:
    """Why it was refused, from a Status if the body is one. headers: lower case."""
    try:
        status = _STATUS.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        status = _Status(message=body[:200].decode("utf-8", "replace").strip())
    asked = float(status.details.retryAfterSeconds) if status.details else 0.0
    wait = min(max(asked, _retry_after(headers), 0.0), LONGEST_WAIT_S)
    return RefusedError(code or status.code or 500, status.reason, status.message, wait)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds. A time of day is compared with what the server says that it is: our clock may be another one."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return 0.0
    if text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return (until - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0


_EVENT = msgspec.json.Decoder(Event)
_STATUS = msgspec.json.Decoder(_Status)
_PAGE = msgspec.json.Decoder(_Page)
