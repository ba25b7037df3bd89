from __future__ import annotations

import pytest

from tidegate_lab.dns_zone import Code
from tidegate_lab.outside import answer_outside

TEXT = """
127.0.0.1 localhost mine.example
# 198.51.100.9 gone.example
198.51.100.1  wikipedia.org www.Wikipedia.org # two names
2001:db8::1   wikipedia.org
nonsense      broken.example
"""


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        ("wikipedia.org.", "A", Code.NOERROR, ["198.51.100.1"]),
        ("WWW.wikipedia.org", "A", Code.NOERROR, ["198.51.100.1"]),
        ("wikipedia.org", "AAAA", Code.NOERROR, ["2001:db8::1"]),
        ("wikipedia.org", "MX", Code.NOERROR, []),
        *((name, "A", Code.NXDOMAIN, []) for name in ("localhost", "mine.example", "gone.example", "broken.example")),
        ("org", "A", Code.NXDOMAIN, []),
    ],
)
def test_names_outside_are_those_of_the_machine(name: str, kind: str, code: Code, found: list[str]) -> None:
    answer = answer_outside(TEXT, name, kind)
    assert (answer.code, [record.value for record in answer.records]) == (code, found)
