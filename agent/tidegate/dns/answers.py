"""From a question's bytes to its answer's, remembered: most questions of a pod have been asked before."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.dns import wire
from tidegate.dns.names import NameTable

# Bytes of questions and answers; a pod that asks for ever new names makes others' be read anew, no more.
REMEMBERED = 8 * 1024 * 1024
_EACH = 256  # bytes that remembering takes besides
_ID = 2  # bytes before anything that matters: the asker's number


class Answers:
    """Answers of one state of the names. Use from one thread."""

    def __init__(self, names: NameTable, chance: Callable[[], float]) -> None:
        """chance: in [0, 1); which of several servers an answer names first."""
        self.names = names
        self._chance = chance
        self._known: dict[tuple[str, bool, bytes], wire.Reply | None] = {}
        self._size = 0

    def changed(self) -> None:
        """The names are other ones."""
        self._known.clear()
        self._size = 0

    def of(self, message: bytes, namespace: str, *, udp: bool) -> bytes | None:
        """The answer to a message of a pod; None: its resolver is to be asked."""
        key = (namespace, udp, message[_ID:])
        if key in self._known:
            known = self._known[key]
        else:
            known = self._make(message, namespace, udp)
            if len(message) <= wire.UDP_MAX:
                self._remember(key, known)
        return None if known is None else known.to(message, self._chance())

    def _make(self, message: bytes, namespace: str, udp: bool) -> wire.Reply | None:
        asked = wire.question(message)
        found = self.names.answer(asked.name, asked.kind, namespace) if asked else None
        return None if found is None else wire.reply(message, found, udp=udp)

    def _remember(self, key: tuple[str, bool, bytes], made: wire.Reply | None) -> None:
        if self._size > REMEMBERED:
            self.changed()
        self._size += _EACH + len(key[2]) + (0 if made is None else len(made))
        self._known[key] = made
