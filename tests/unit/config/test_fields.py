"""docs/fields.md: every field that is read is honoured, warned about, or of no meaning for a reason. Nothing else."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.field_effects import (
    does_something,
    hosts_of,
    is_patch,
    occurrences,
    outcome,
    samples,
    usual,
    usual_mesh,
    with_value,
)
from tests.support.shapes import Field, fields

from tidegate.config.kinds import KINDS, Kind
from tidegate.config.messages import MESSAGES
from tidegate.model.mesh import Severity

PAGE = Path(__file__).resolve().parents[3] / "docs" / "fields.md"
ROW = re.compile(r"^\| `(.+?)` \| (honoured|warned: (TG\d{4})|no meaning) \| (.*) \|$", re.MULTILINE)
# Values that make a warning out of a field that is read; any other field that is warned about does so whatever it is.
VALUES: dict[str, Any] = {"delegate": {"name": "other"}}
FIELDS = fields()


class Row(NamedTuple):
    here: str
    code: str
    why: str


@cache
def rows() -> dict[str, Row]:
    return {path: Row(here.partition(":")[0], code, why) for path, here, code, why in ROW.findall(PAGE.read_text())}


def those(here: str) -> list[Field]:
    return [field for field in FIELDS if field.path in rows() and rows()[field.path].here == here]


def test_the_page_has_every_field_and_no_other() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(lines) == len(rows()), "each line is well formed, and each field has one"
    paths = [field.path for field in FIELDS]
    assert sorted(set(paths) - set(rows())) == [], "say in docs/fields.md what becomes of them"
    assert sorted(set(rows()) - set(paths)) == [], "nothing reads them any more"


def test_what_a_shape_says_of_a_field_is_what_the_page_says() -> None:
    for field in FIELDS:
        row = rows()[field.path]
        if field.declared == "unsupported":
            assert (row.here, row.code) == ("warned", "TG0107"), field.path
        elif field.declared == "ignored":
            assert row.here != "honoured", field.path
        assert row.here == "honoured" or row.why, f"{field.path}: why?"


@pytest.mark.case("D1", "D2")
@pytest.mark.parametrize("field", those("honoured"), ids=lambda field: field.path)
def test_a_field_that_is_honoured_makes_a_difference(field: Field) -> None:
    if field.container:
        inner = [f for f in FIELDS if f.path.startswith(f"{field.path}.")]
        if not inner or any(rows()[f.path].here == "honoured" for f in inner):
            assert list(occurrences(field)), "no document of tests/vectors/fields sets it"
            return
    assert list(occurrences(field)), "no document of tests/vectors/fields sets it"
    assert does_something(field), "it is read, and nothing is another for it"


@pytest.mark.parametrize("field", those("no meaning"), ids=lambda field: field.path)
def test_a_field_without_meaning_makes_no_difference_and_no_noise(field: Field) -> None:
    if field.declared == "read":
        assert not does_something(field)
        return
    place = next(hosts_of(field))
    value = samples()[int(place[0])].get(field.name, {"some": "thing"}) if len(place) == 1 else {"some": "thing"}
    mesh = with_value(place, field.name, value)
    before = usual_mesh(is_patch(place)).problems
    assert {(p.code, p.path) for p in mesh.problems} == {(p.code, p.path) for p in before}
    assert outcome(mesh) == usual(is_patch(place))


@pytest.mark.parametrize("field", those("warned"), ids=lambda field: field.path)
def test_a_field_that_is_warned_about_is_named(field: Field) -> None:
    code = rows()[field.path].code
    assert next(row for row in MESSAGES if row.code == code).severity is Severity.WARNING
    mesh = with_value(next(hosts_of(field)), field.name, VALUES.get(field.name, {"some": "thing"}))
    assert [p for p in mesh.problems if p.code == code and p.path.endswith(field.name)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_message_can_be_made_ready(kind: Kind) -> None:
    """Which a node does when it reads the first document of the kind: what is wrong with one would show there only."""
    kind.shape.model_rebuild()
    assert kind.shape.__pydantic_complete__
