"""Seeded mutations of a few good inputs, for parsers written in Python: the same seed gives the same inputs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
_LONGEST = 16384  # characters of an input that mutations made


def seeds(name: str) -> dict[str, bytes]:
    """The files of one corpus, by name and in order of names."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}


def mutants(inputs: Sequence[bytes], words: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """count inputs, each some steps away from one of the given: bytes flipped, parts cut, doubled, swapped between
    inputs, and words put in or in place of what was there."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(inputs))
        for _ in range(chance.randint(1, 5)):
            _mutate(data, inputs, words, chance)
        yield bytes(data[:_LONGEST])


def _mutate(data: bytearray, inputs: Sequence[bytes], words: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 4, 16, 64)))
    match chance.randrange(8):
        case 0:
            data[at:end] = bytes(chance.randrange(256) for _ in range(end - at))
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = data[at:end] * chance.choice((1, 2, 100))
        case 3:
            other = chance.choice(inputs)
            start = chance.randint(0, len(other))
            data[at:end] = other[start : start + chance.choice((8, 64, 512))]
        case 4 | 5:
            data[at:at] = chance.choice(words)
        case _:
            left, right = _token(data, at)
            data[left:right] = chance.choice(words)


def _token(data: bytearray, at: int) -> tuple[int, int]:
    """The word or number around a place: replacing a whole one keeps the syntax and so gets deeper."""
    left = right = at
    while left > 0 and chr(data[left - 1]).isalnum():
        left -= 1
    while right < len(data) and chr(data[right]).isalnum():
        right += 1
    return left, right
