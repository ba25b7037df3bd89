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
        ({"config": []}, {}, "is missing"),
        ({"workers": -3}, {}, "--workers -3: is out of range; use a number from 0"),
        ({"envoy_concurrency": 0}, {}, "--envoy-concurrency 0: is out of range"),
        ({}, {"TIDEGATE_ADMIN_PORT": "99999"}, "--admin-port 99999: .* to 65535"),
        ({"drain_seconds": -1.0}, {}, "--drain-seconds"),
        ({"drain_seconds": float("nan")}, {}, "--drain-seconds"),
        ({"log_level": "loud"}, {}, "use debug, info, warning, error"),
    ],
)
def test_unusable_values_are_named(flags: dict[str, object], environ: dict[str, str], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        from_environment({"config": ["file:/etc"], **flags}, environ)
