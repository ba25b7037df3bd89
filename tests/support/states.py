"""States of a mesh as hypothesis draws them: documents of all kinds in which every field is set (tests/vectors/fields),
each as it is written, changed in some place, or not there. A state is small where what is wrong with it is."""

from __future__ import annotations

import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.fuzz.trees import Seeds, as_yaml, change, paths
from tests.support.configs import mesh_of
from tests.support.field_effects import samples
from tidegate.config.documents import ParsedFile, parse_text

set_hypothesis_home_dir(Path(__file__).resolve().parents[2] / "build" / "hypothesis")  # what it keeps for itself


class State(dict[str, str]):
    """File -> text, of one document each."""

    about = ""  # which documents are missing, which are others than they are written

    def __repr__(self) -> str:
        return self.about


VARIANTS = 5
_TRIES = 40


@cache
def seeds() -> Seeds:
    """What changes of documents are made of."""
    by_key: dict[str | int, list[Any]] = {}
    for document in samples():
        for path in paths(document):
            value: Any = document
            for step in path:
                value = value[step]
            by_key.setdefault(path[-1], []).append(value)
    return Seeds(tuple(samples()), by_key)


@cache
def variants(number: int) -> tuple[str, ...]:
    """A document as it is written, then changed: so that it is still valid, and the same object."""
    document = samples()[number]
    chance, found = random.Random(number), {as_yaml(document): None}
    for _ in range(_TRIES):
        other = copy.deepcopy(document)
        parts = ("data",) if document["kind"] == "ConfigMap" else ("spec", "status", "subsets")
        spec = next((key for key in parts if key in other), "metadata")
        if not isinstance(other.get(spec), dict | list) or not other[spec]:
            break
        change(other[spec], seeds(), chance)
        if document["metadata"]["name"] != other["metadata"].get("name"):
            continue
        text = as_yaml(other)
        if text not in found and not any(problem.is_error for problem in mesh_of({"one.yaml": text}).problems):
            found[text] = None
            if len(found) == VARIANTS:
                break
    return tuple(found)


@cache
def parsed(name: str, text: str) -> ParsedFile:
    """The file, read once."""
    return parse_text(text, name)


def states() -> st.SearchStrategy[State]:
    """A state with most of the documents. Simplest: all of them, as they are written."""
    count = len(samples())
    kinds = sorted({document["kind"] for document in samples()})
    return st.builds(
        _state,
        gone=st.sets(st.integers(0, count - 1), max_size=count // 3),
        without=st.sets(st.sampled_from(kinds), max_size=3),
        changed=st.dictionaries(st.integers(0, count - 1), st.integers(1, VARIANTS - 1), max_size=12),
    )


def _state(gone: set[int], without: set[str], changed: dict[int, int]) -> State:
    found = State()
    found.about = f"_state(gone={sorted(gone)}, without={sorted(without)}, changed={changed})"
    for number, document in enumerate(samples()):
        if number not in gone and document["kind"] not in without:
            known = variants(number)
            found[f"{number:03}.yaml"] = known[changed.get(number, 0) % len(known)]
    return found
