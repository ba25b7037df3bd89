"""What clients that are not ours should have: one image for equal clients, made when one of them needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.compile.facts import Facts
from tidegate.compile.others.client import Client
from tidegate.compile.others.served import asked, known, served
from tidegate.xds.encode import KINDS, Encoded, Encoder, Image

log = logging.getLogger(__name__)

Left = tuple[str, str, str]  # a patch of an EnvoyFilter, why it could not be applied, where it stands


@dataclass(eq=False, slots=True)
class _Shared:
    """What equal clients share."""

    encoder: Encoder = field(default_factory=Encoder)
    good: dict[tuple[str, str], Encoded] = field(default_factory=dict)
    image: Image | None = None
    facts: Facts | None = None  # that the image is of
    left_out: tuple[Left, ...] = ()


class Images:
    """The images of the newest facts. Use from one event loop."""

    def __init__(self) -> None:
        self.facts: Facts | None = None  # None: nothing was read yet
        self.generation = 0
        self._asked: frozenset[str] = frozenset()  # of these facts
        self._shared: dict[Client, _Shared] = {}

    def publish(self, facts: Facts, connected: Iterable[Client]) -> None:
        """Make these facts what clients should have. What only clients had that are not connected any more is
        forgotten."""
        self.facts = facts
        self.generation += 1
        self._asked = asked(facts)
        needed = {known(facts, said, self._asked) for said in connected}
        self._shared = {who: shared for who, shared in self._shared.items() if who in needed}

    def good(self, said: Client) -> dict[tuple[str, str], Encoded]:
        """What clients like this one confirmed, which outlives their streams."""
        assert self.facts is not None
        return self._of(said).good

    async def of(self, said: Client, name: str) -> Image | None:
        """The newest image for a client; None if it cannot be made. name: for the log."""
        facts, shared = self.facts, self._of(said)
        assert facts is not None
        if shared.image is None or shared.facts is not facts:
            who = known(facts, said, self._asked)
            try:
                made, left_out = await asyncio.to_thread(_image, shared.encoder, self.generation, facts, who)
            except Exception:
                # Whatever it is, it concerns clients like this one, and they keep what they have.
                log.exception("no configuration can be made for %s", name)
                return None
            for rejection in made.broken:
                log.warning("%s %s %s", rejection.kind, rejection.name, rejection.detail)
            for title, why, origin in sorted(set(left_out) - set(shared.left_out)):
                log.warning("%s is left out for %s: %s (%s)", title, name, why, origin)
            shared.image, shared.facts, shared.left_out = made, facts, left_out
        return shared.image

    async def once(self, said: Client) -> Image:
        """An image of its own, for who asks once and is gone."""
        assert self.facts is not None
        who = known(self.facts, said, self._asked)
        image, _ = await asyncio.to_thread(_image, Encoder(), self.generation, self.facts, who)
        return image

    def left_out(self) -> list[Left]:
        """Patches that could not be applied for some client, each once."""
        return sorted({left for shared in self._shared.values() for left in shared.left_out})

    def _of(self, said: Client) -> _Shared:
        assert self.facts is not None
        return self._shared.setdefault(known(self.facts, said, self._asked), _Shared())


def _image(encoder: Encoder, generation: int, facts: Facts, who: Client) -> tuple[Image, tuple[Left, ...]]:
    made = served(facts, who)
    image = encoder.publish(generation, {kind: made.resources.get(kind, {}) for kind in KINDS})
    return image, tuple(dict.fromkeys((patch.title, why, str(patch.origin)) for patch, why in made.failures))
