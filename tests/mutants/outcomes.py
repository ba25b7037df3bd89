"""pytest plugin (-p tests.mutants.outcomes): writes how each phase of each test ended, as JSON, to $MUTANT_OUTCOMES.

JUnit files do not tell an assertion from any other exception.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_rows: list[dict[str, Any]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    raised = call.excinfo
    _rows.append(
        {
            "test": item.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "type": raised.type.__name__ if raised else "",
            "says": str(raised.value).strip()[:2000] if raised else "",
        }
    )
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    where = os.environ["MUTANT_OUTCOMES"]
    Path(where).write_text(json.dumps({"exit": int(exitstatus), "rows": _rows}))
