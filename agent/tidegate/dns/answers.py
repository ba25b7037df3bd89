"""From a question's bytes to its answer's, remembered: most questions of a pod have been asked before."""

from __future__ import annotations

from tidegate.dns import wire
from tidegate.dns.names import NameTable

REMEMBERED = 8192  # questions; a pod that asks for ever new names makes others' be read anew, no more
_ID = 2  # bytes before anything that matters: the asker's number


class Answers:
    """Answers of one state of the names. Use from one thread."""

    def __init__(self, names: NameTable) -> None:
        self.names = names
        self._known: dict[tuple[str, bool, bytes], bytes | None] = {}

    def changed(self) -> None:
        """The names are other ones."""
        self._known.clear()

    def of(self, message: bytes, namespace: str, *, udp: bool) -> bytes | None:
        """The answer to a message of a pod; None: its resolver is to be asked."""
        key = (namespace, udp, message[_ID:])
        if key in self._known:
            known = self._known[key]
            return known if known is None else message[:_ID] + known
        made, keep = self._make(message, namespace, udp)
        if keep:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = made if made is None else made[_ID:]
        return made

    def _make(self, message: bytes, namespace: str, udp: bool) -> tuple[bytes | None, bool]:
        """The answer, and whether it is the same each time: several addresses take turns."""
        asked = wire.question(message)
        found = self.names.answer(asked.name, asked.kind, namespace) if asked else None
        if found is None:
            return None, len(message) <= wire.UDP_MAX
        return wire.reply(message, found, udp=udp), len(found.addresses) <= 1 and not found.services
