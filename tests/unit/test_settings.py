from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import Rejected
from tidegate.settings import Settings, from_environment


def test_flag_beats_environment_beats_default() -> None:
    environ = {"TIDEGATE_RUN_DIR": "/run/env", "TIDEGATE_WORKERS": "3", "TIDEGATE_CONFIG": "file:/a,file:/b"}
    got = from_environment({"node": "n1", "run_dir": Path("/run/flag")}, environ)
    assert got == Settings(node="n1", config=("file:/a", "file:/b"), run_dir=Path("/run/flag"), workers=3)


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        ({"config": ["kube"]}, {}, "not built yet"),
        ({"config": ["ftp:/x"]}, {}, "no known source"),
        ({"config": ["file:"]}, {}, "use file:DIR"),
        ({}, {"TIDEGATE_WORKERS": "two"}, "is not a number"),
    ],
)
def test_unusable_values_are_named(flags: dict[str, object], environ: dict[str, str], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        from_environment(flags, environ)
