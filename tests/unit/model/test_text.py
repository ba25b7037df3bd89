"""Text that others wrote."""

from __future__ import annotations

import pytest

from tidegate.model.text import printable


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain, and 猫", "plain, and 猫"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred\x00", r"\x1b[31mred\x00"),
        ("\u2028\u202e\x85", r"\u2028\u202e\x85"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_what_cannot_be_printed_is_an_escape(written: str, shown: str) -> None:
    assert printable(written) == shown
    assert printable(shown) == shown
