"""docs/api-support.md, made of the table of the API, of docs/fields.md and of the marks on tests.

python -m tests.acceptance.api_support > docs/api-support.md
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.shapes import fields, places

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "api-support.md"
DOCUMENTS = ROOT / "tests" / "acceptance" / "documents"
_ROW = re.compile(r"^\| `(.+?)` \| (honoured|warned: TG\d{4}|no meaning) \| .* \|$", re.MULTILINE)
_BRACKETS = re.compile(r"\[\]|\{\}")
NOT_YET = "not yet"
# What shows that a field does something at all, for those that no test names.
GENERIC = "tests/unit/config/test_fields.py"


@dataclass(frozen=True, slots=True)
class ApiField:
    """One field, or one value of an enum, of the API."""

    name: str
    path: str
    envoy: str

    @property
    def status(self) -> str:
        """What becomes of it."""
        if self.path.startswith("!"):
            return f"warned: {self.path[1:]}"
        return _statuses().get(self.path, NOT_YET)


def api() -> list[ApiField]:
    """The table."""
    lines = (ROOT / "tests" / "acceptance" / "api.txt").read_text().splitlines()
    return [ApiField(*(part.strip() for part in line.split("|"))) for line in lines if not line.startswith("#")]


@cache
def _statuses() -> dict[str, str]:
    """By path without brackets, of every place where a field may stand."""
    told: dict[str, str] = dict(_ROW.findall((ROOT / "docs" / "fields.md").read_text()))
    return {
        _BRACKETS.sub("", f"{place}.{field.name}"): told[field.path]
        for field in fields()
        for place in places()[field.shape]
        if field.path in told
    }


@cache
def marked(mark: str) -> dict[str, list[str]]:
    """Argument of a mark -> the tests that have it, as FILE::TEST."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if f"mark.{mark}(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for argument in _arguments(node, mark):
                    found.setdefault(argument, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def _arguments(test: ast.FunctionDef | ast.AsyncFunctionDef, mark: str) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{mark}":
            told = (node for argument in decorator.args for node in ast.walk(argument))
            yield from (node.value for node in told if isinstance(node, ast.Constant) and isinstance(node.value, str))


def documents() -> list[str]:
    """Names of the documents, in order."""
    return sorted(path.stem for path in DOCUMENTS.glob("*.yaml"))


def as_markdown() -> str:
    """The text of the page."""
    rows, tests, stories = api(), marked("api"), marked("document")
    done = sum(row.status == "honoured" for row in rows)
    lines = [
        "# What of the v1alpha3 networking API works",
        "",
        "Every field and value that Istio 1.0 documented, what becomes of it here, as what Envoy (or the relay)",
        "hears of it, and the test that shows it: one that is named after what a user sees, or the one that takes",
        "each field away and looks for a difference. Codes: `messages.md`. Written by `make api-support` from",
        "`tests/acceptance/api.txt`, `docs/fields.md` and the marks on tests.",
        "",
        f"Honoured: {done} of {len(rows)}.",
        "",
        "| field | here | becomes | test |",
        "|---|---|---|---|",
    ]
    for row in rows:
        shown = tests.get(row.name) or ([GENERIC] if row.status == "honoured" else [])
        where = (
            f"`{row.path}`, " if not row.path.startswith("!") and not row.path.endswith(row.name.split(".")[-1]) else ""
        )
        lines.append(f"| `{row.name}` | {row.status} | {where}{row.envoy} | {', '.join(f'`{t}`' for t in shown)} |")
    lines += ["", "## The documents", "", "| document | story |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(f'`{t}`' for t in stories.get(name, []))} |" for name in documents()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
