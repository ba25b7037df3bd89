"""Every field of every kind that is read, from the classes of the shapes themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from tidegate.config.kinds import KINDS
from tidegate.config.kinds.inert import INERT
from tidegate.config.schema import ApiModel
from tidegate.config.shapes.metadata import Metadata

Declared = Literal["read", "ignored", "unsupported"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of one shape; a shape that stands in several places is named by the first of them."""

    shape: type[ApiModel]
    name: str
    path: str  # VirtualService.spec.http[].match[].uri
    declared: Declared
    container: bool = False  # of other shapes, whose fields are rows of their own


def fields() -> list[Field]:
    """All of them, each shape once."""
    found: list[Field] = []
    for shape, paths in places().items():
        start = "metadata" if shape is Metadata else paths[0]
        for name, info in shape.model_fields.items():
            alias, inner = info.alias or name, any(_models(info.annotation))
            found.append(Field(shape, alias, f"{start}.{alias}{_suffix(info.annotation)}", "read", inner))
        found += (Field(shape, name, f"{start}.{name}", "ignored") for name in sorted(shape.ignored))
        found += (Field(shape, name, f"{start}.{name}", "unsupported") for name in sorted(shape.unsupported))
    return found


def places() -> dict[type[ApiModel], list[str]]:
    """Shape -> every place where it may stand, as Field.path; `{}` and `[]` stand for any key or number."""
    found: dict[type[ApiModel], dict[str, None]] = {}
    for kind in KINDS.values():
        if kind not in INERT:
            _place(kind.shape, kind.name, found)
    return {shape: list(paths) for shape, paths in found.items()}


def _place(shape: type[ApiModel], path: str, found: dict[type[ApiModel], dict[str, None]]) -> None:
    found.setdefault(shape, {})[path] = None
    for name, info in shape.model_fields.items():
        for inner in _models(info.annotation):
            _place(inner, f"{path}.{info.alias or name}{_suffix(info.annotation)}", found)


def _models(annotation: Any) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _suffix(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (list, dict):
        return "[]" if origin is list else "{}"
    return next(filter(None, map(_suffix, get_args(annotation))), "")
