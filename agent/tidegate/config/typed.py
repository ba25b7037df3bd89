"""Objects that come by the thousand, read straight from JSON into the shape of their kind.

A shape is declared once, for pydantic; msgspec gets the same fields, types, limits and defaults from it, and leaves
out what no shape has. What a kind makes of its shape is the kind's own `read`, as everywhere. That is for objects with
which all is well. Of one about which something has to be said this module has no opinion: `reading`, which knows
places, is asked.
"""

from __future__ import annotations

from functools import cache
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, cast, get_args, get_origin

import msgspec
from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.messages import Said
from tidegate.config.reading import check_names
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.model.mesh import MeshObject

_PLAIN = (str, int, float, bool, NoneType, Any)
_LIMITS = {Ge: "ge", Le: "le", MinLen: "min_length", MaxLen: "max_length"}


class DoubtError(Exception):
    """Something has to be said about the object, so its places are needed."""


class UnfitError(TypeError):
    """A shape that does more than fields of plain types can say: its documents are read by `reading` only."""


class _Doubt(Report):
    """A report of an object with which all is well."""

    def __init__(self) -> None:
        super().__init__(None)

    def say(self, *_: object) -> NoReturn:
        raise DoubtError

    def at_path(self, _path: object, _said: Said) -> NoReturn:
        raise DoubtError


class Typed(msgspec.Struct):
    """Base of what is made from shapes; nobody wrote it at a place."""

    @property
    def at(self) -> NoReturn:
        raise DoubtError

    line = at


def read_typed(kind: Kind, doc: Any, place: Place) -> MeshObject | None:
    """As reading.read, of a document of struct_of(kind.shape). Raises DoubtError."""
    report = _Doubt()
    check_names(doc.metadata, place.key, report)
    return kind.read(doc, place, report)


@cache
def struct_of(shape: type[ApiModel]) -> type[Typed]:
    """What a shape is for msgspec; metadata also has resource_version. Raises UnfitError."""
    decorators = shape.__pydantic_decorators__
    if shape.normalise.__func__ is not ApiModel.normalise.__func__ or len(decorators.model_validators) > 1:  # type: ignore[attr-defined]
        raise UnfitError(f"{shape.__name__} brings its documents into another form first")
    if shape.unsupported:
        raise UnfitError(f"{shape.__name__} has fields to warn of")
    names: dict[str, str] = {}
    members: list[Any] = []
    repairs: list[tuple[str, Any]] = []
    for name, field in shape.model_fields.items():
        names[name] = field.alias or name
        wanted, default = _type(field.annotation), _default(field)
        container = get_origin(wanted)
        wanted = _limited(wanted, _limits(shape, field))
        if container in (list, dict):
            repairs.append((name, container))
            wanted = _union((wanted, NoneType))
        members.append((name, wanted, *default))
    if issubclass(shape, Metadata):
        names["resource_version"] = "resourceVersion"
        members.append(("resource_version", str, ""))
    members_of_class: dict[str, Any] = _methods(shape)
    checks = _checks(shape)
    if repairs or checks:
        members_of_class["__post_init__"] = _finish(repairs, checks)
    made = msgspec.defstruct(
        shape.__name__,
        members,
        bases=(Typed,),
        namespace=members_of_class,
        rename=names,
        kw_only=True,
        omit_defaults=True,
        gc=False,
    )
    return cast(type[Typed], made)


def _finish(repairs: list[tuple[str, Any]], checks: list[tuple[str, Any]]) -> Any:
    """Go writes null for a list of none; then what the shape checks by itself."""

    def finish(self: Any) -> None:
        for name, empty in repairs:
            if getattr(self, name) is None:
                setattr(self, name, empty())
        for name, check in checks:
            setattr(self, name, check(getattr(self, name)))

    return finish


def _type(annotation: Any) -> Any:
    if annotation in _PLAIN:
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return struct_of(annotation)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return annotation
    if origin in (UnionType, Union):
        return _union(tuple(_type(part) for part in parts))
    if origin in (list, dict):
        return origin[tuple(_type(part) for part in parts)]
    raise UnfitError(f"{annotation} is no plain type")


def _union(parts: tuple[Any, ...]) -> Any:
    return Union.__getitem__(parts)


def _default(field: FieldInfo) -> tuple[Any, ...]:
    if field.is_required():
        return ()
    factory: Any = field.default_factory
    if factory is None:
        return (field.default,)
    if isinstance(factory, type) and issubclass(factory, ApiModel):
        factory = struct_of(factory)
    return (msgspec.field(default_factory=factory),)


def _limits(shape: type[ApiModel], field: FieldInfo) -> dict[str, Any]:
    found = {}
    for limit in field.metadata:
        name = _LIMITS.get(type(limit))
        if name is None:
            raise UnfitError(f"{shape.__name__} checks a field by {limit}")
        found[name] = getattr(limit, name)
    return found


def _limited(wanted: Any, limits: dict[str, Any]) -> Any:
    if not limits:
        return wanted
    if get_origin(wanted) is Union:
        return _union(tuple(p if p is NoneType else _limited(p, limits) for p in get_args(wanted)))
    return Annotated[wanted, msgspec.Meta(**limits)]


def _checks(shape: type[ApiModel]) -> list[tuple[str, Any]]:
    found = []
    for check in shape.__pydantic_decorators__.field_validators.values():
        if check.info.mode != "after":
            raise UnfitError(f"{shape.__name__} changes a field before it is read")
        found += [(name, check.func) for name in check.info.fields]
    return found


def _methods(shape: type[ApiModel]) -> dict[str, Any]:
    """What a shape knows to say of its fields."""
    found: dict[str, Any] = {}
    for base in reversed(shape.__mro__[: shape.__mro__.index(ApiModel)]):
        for name, member in vars(base).items():
            if isinstance(member, property | FunctionType) and not name.startswith("_"):
                found[name] = member
    return found
