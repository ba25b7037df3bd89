"""docs/api-support.md is what the tree says, and marks name what there is."""

from __future__ import annotations

from tests.acceptance.api_support import NOT_YET, PAGE, api, as_markdown, documents, marked

from tidegate.config.kinds import LATER


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == as_markdown(), "run make api-support"


def test_a_field_stands_once_in_the_table() -> None:
    names = [row.name for row in api()]
    assert len(names) == len(set(names))


def test_marks_name_fields_and_documents_that_there_are() -> None:
    assert marked("api").keys() <= {row.name for row in api()}
    assert marked("document").keys() <= set(documents())


def test_only_kinds_and_parts_that_are_not_read_yet_are_not_in_the_list_of_fields() -> None:
    later = set().union(*LATER.values())
    for row in api():
        if row.status == NOT_YET:
            assert row.path.split(".")[0] in later or _above_is_not_read(row.path), row.name


def _above_is_not_read(path: str) -> bool:
    """Whether what the field stands in is only warned about."""
    parts = path.split(".")
    above = {".".join(parts[:n]) for n in range(2, len(parts))}
    return any(row.status.startswith("warned") for row in api() if row.path in above)
