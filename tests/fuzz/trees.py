"""Seeded changes of documents as trees: what they become is YAML nearly always, so it gets past the parser.

Fields go, come from other documents, change their type, their name, their number by one or to the end of a range; names
become what terminals, regular expressions, Envoy or a file system might take for something else. The same seed gives
the same documents.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Step = str | int
Path = tuple[Step, ...]

# What somebody writes by mistake, or on purpose.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 100, 101, 65535, 65536, 2**31 - 1, 2**31),
    *(2**32 - 1, 2**32, 2**63, 2**64, -(2**63)),
    *(0.0, 0.5, -0.5, 1e-9, 1e308, float("inf"), float("nan")),
    *("", " ", "*", "**", "*.", ".", "..", "/", "//", "-", "~"),
    *("%", "%%", "%REQ(x)%", "{", "}", "$", "\\", "\x00", "\x1b[31m"),
    *("a\nb", "a\r\nb", "\u2028", "\u202e", "\ufeff", "ﬁ", "é", "猫"),
    *("\U0001f30a", "\x7f", "\x85", "a" * 254, "x" * 5000),
    *("0s", "1s", "10ms", "1h", "-1s", "1.5", "1e3s", "9999999h", "0.0000001s", "1d", "5 s", "s"),
    *("web", "web.default", "web.default.svc.cluster.local", "*.example"),
    *("*.com", "*", "a_b.example", "-a.example", "*.*.example"),
    *("10.0.0.1", "10.0.0.0/8", "10.0.0.1/33", "::1", "::/0", "256.1.1.1"),
    *("0.0.0.0", "fe80::1%eth0", "unix:///run/x", "unix://@x"),
    *("(", "[a-", ".*", "(a+)+$", "\\d{1000}", "^$", "(?i)x", "a{0,1000}{0,1000}"),
    *("70000", "0", "²", "8080", 2**32 - 1, 50.0, "x\x01y", "unix:///" + "x" * 200, "::ffff:10.1.0.0/126"),
    *("TCP", "HTTP", "http", "GRPC", "TLS", "STATIC", "NONE", "DNS", "SIMPLE", "MUTUAL", "LEAST_CONN", "mesh"),
    *(":authority", "host", "x-envoy-internal", "content-length", "connection", "cookie", "true", "null", "1"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": None}, [""], {"x" * 300: 1}, [0] * 40),
)  # fmt: skip
KEYS = (
    "",
    "a",
    "-",
    "x.y/z",
    "app",
    "exact",
    "prefix",
    "regex",
    "host",
    "subset",
    "number",
    "simple",
    "\x1b",
    "é",
    "a\nb",
)


@dataclass(frozen=True, slots=True)
class Seeds:
    """Documents to begin with. by_key: values by the name of the field that they stood in."""

    documents: tuple[Any, ...]
    by_key: dict[Step, list[Any]]


def seeds_of(texts: Sequence[str]) -> Seeds:
    """Documents of these texts; what is no YAML is left out."""
    found: list[Any] = []
    for text in texts:
        try:
            found += [doc for doc in yaml.load_all(text, yaml.CSafeLoader) if isinstance(doc, dict)]
        except yaml.YAMLError:
            continue
    by_key: dict[Step, list[Any]] = {}
    for document in found:
        for path in paths(document):
            by_key.setdefault(path[-1], []).append(at(document, path))
    return Seeds(tuple(found), by_key)


def changed(seeds: Seeds, count: int, seed: int, most: int = 4) -> Iterator[Any]:
    """count documents, each as one of the seeds is but for up to `most` changes; some are not changed at all. Most have
    a name of their own; the others are the same objects again, and those whose name decides what they are."""
    chance = random.Random(seed)
    for number in range(count):
        document = copy.deepcopy(chance.choice(seeds.documents))
        metadata = document.get("metadata")
        own = chance.random() < 0.7 and document.get("kind") not in ("ConfigMap", "Endpoints", "Service")
        if own and isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
            metadata["name"] = f"{metadata['name'][:40]}-{number}"
        for _ in range(chance.choice((0, 0, 1, 1, 1, 1, 2, most))):
            change(document, seeds, chance)
        yield document


def change(document: Any, seeds: Seeds, chance: random.Random) -> None:
    """One change, in place."""
    places = list(paths(document))
    if not places:
        return
    path = chance.choice(places)
    above, last = at(document, path[:-1]), path[-1]
    old = above[last]
    match chance.randrange(10):
        case 0:
            del above[last]
        case 1 | 2:
            above[last] = copy.deepcopy(chance.choice(VALUES))
        case 3 | 4:
            above[last] = copy.deepcopy(chance.choice(seeds.by_key.get(last) or VALUES))
        case 5:
            above[last] = _near(old, chance)
        case 6:
            _rename(above, last, chance)
        case 7:
            _double(above, last, old)
        case 8:
            other = chance.choice(seeds.documents)
            _add(above, at(other, chance.choice(list(paths(other)))), seeds, chance)
        case _:
            above[last] = [old] if not isinstance(old, list) else old[0] if old else {}


def _near(old: Any, chance: random.Random) -> Any:
    """A value of the same type."""
    match old:
        case bool():
            return not old
        case int() | float():
            return chance.choice((old + 1, old - 1, -old, old * 1000, str(old), float(old) + 0.5))
        case str():
            at = chance.randint(0, len(old))
            return chance.choice((old[:at], old.upper(), old[:at] + chance.choice("*./:%- é") + old[at:], old * 40))
        case list():
            return old[::-1] + old
        case _:
            return {}


def _rename(above: Any, last: Step, chance: random.Random) -> None:
    if isinstance(above, dict) and isinstance(last, str):
        value = above.pop(last)
        at = chance.randint(0, len(last))
        above[
            chance.choice((last[:at] + last[at + 1 :], last.upper(), f"{last[:at]}_{last[at:]}", chance.choice(KEYS)))
        ] = value


def _double(above: Any, last: Step, old: Any) -> None:
    if isinstance(above, list):
        above.append(copy.deepcopy(old))
    else:
        above[f"{last}2"] = copy.deepcopy(old)


def _add(above: Any, value: Any, seeds: Seeds, chance: random.Random) -> None:
    if isinstance(above, list):
        above.insert(chance.randint(0, len(above)), copy.deepcopy(value))
    else:
        key = chance.choice([key for key in seeds.by_key if isinstance(key, str)])
        above[key] = copy.deepcopy(chance.choice(seeds.by_key[key]))


def paths(value: Any, above: Path = ()) -> Iterator[Path]:
    """Every place in a tree but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*above, key)
        yield from paths(child, (*above, key))


def at(value: Any, path: Path) -> Any:
    """What stands at a place."""
    for step in path:
        value = value[step]
    return value


def as_yaml(document: Any) -> str:
    """The document as a person's tools would write it."""
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True)


class _Plain(yaml.CSafeDumper):
    """Without anchors: two equal lists are two lists."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
