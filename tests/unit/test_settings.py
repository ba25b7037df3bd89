from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from tidegate import settings
from tidegate.errors import Rejected
from tidegate.relay import supervisor as relay
from tidegate.settings import Settings, from_environment, kind
from tidegate.supervise.files import UNIX_PATH_MAX

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = [f for f in fields(Settings) if kind(f) in (int, float)]


def test_flag_beats_environment_beats_default() -> None:
    environ = {"TIDEGATE_RUN_DIR": "/run/env", "TIDEGATE_WORKERS": "3", "TIDEGATE_CONFIG": "file:/a,file:/b"}
    got = from_environment({"node": "n1", "run_dir": Path("/run/flag")}, environ)
    assert got == Settings(node="n1", config=("file:/a", "file:/b"), run_dir=Path("/run/flag"), workers=3)


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        ({"config": ["kube"]}, {}, "KUBERNETES_SERVICE_HOST"),
        ({"config": ["kube:"]}, {}, "no known source"),
        ({"config": ["xds://a:1"]}, {}, "not built yet"),
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
        ({"workers": 65}, {}, "--workers 65: is out of range; use a number from 0 to 64"),
        ({}, {"TIDEGATE_ACCESS_LOG": "perhaps"}, "TIDEGATE_ACCESS_LOG=perhaps: is neither yes nor no"),
        ({"xds_listen": "15010"}, {}, "--xds-listen 15010: is not ADDRESS:PORT; write for example 127.0.0.1:15010"),
        ({}, {"TIDEGATE_XDS_LISTEN": "[::1]:99999"}, "is not ADDRESS:PORT"),
        ({"node": "a/../b"}, {}, "--node 'a/../b': is no name"),
        ({"node": "n" * 254}, {}, "is no name"),
        ({"ca": "ca.mesh:15012"}, {}, "--ca ca.mesh:15012: needs --ca-root"),
        ({}, {"TIDEGATE_CA": "ca.mesh", "TIDEGATE_CA_ROOT": "/r"}, "--ca ca.mesh: is not HOST:PORT"),
        ({"ca": "https://ca.mesh:15012", "ca_root": Path("/r")}, {}, "is not HOST:PORT"),
    ],
)
def test_unusable_values_are_named(flags: dict[str, object], environ: dict[str, str], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        from_environment({"config": ["file:/etc"], **flags}, environ)


@pytest.mark.case("E7")
@pytest.mark.parametrize("setting", NUMBERS, ids=lambda f: f.name)
def test_every_number_is_taken_from_least_to_most_and_refused_beyond(setting: Field[Any]) -> None:
    least, most = setting.metadata["least"], setting.metadata["most"]
    wanted = kind(setting)
    for number in (least, most):
        flags = {"config": ["file:/etc"], setting.name: wanted(number)}
        assert getattr(from_environment(flags, {}), setting.name) == number
    beyond = [least - 1, most + 1, 2**31, 2**64, *([float("inf"), float("nan")] if wanted is float else [])]
    for number in beyond:
        for flags, environ in (
            ({setting.name: wanted(number)}, {}),
            ({}, {f"TIDEGATE_{setting.name.upper()}": str(number)}),
        ):
            with pytest.raises(Rejected, match="is out of range"):
                from_environment({"config": ["file:/etc"], **flags}, environ)


@pytest.mark.case("E7")
def test_as_many_workers_as_the_relay_can_have() -> None:
    text = "".join(path.read_text() for path in sorted((ROOT / "agent" / "relay").glob("*.[ch]")))
    (most,) = re.findall(r"FP_WORKERS_MAX = (\d+)", text)
    (setting,) = (f for f in fields(Settings) if f.name == "workers")
    assert setting.metadata["most"] == int(most)


@pytest.mark.case("E7")
@pytest.mark.parametrize("setting", NUMBERS, ids=lambda f: f.name)
def test_a_number_out_of_range_is_a_usage_error_without_a_traceback(setting: Field[Any], tmp_path: Path) -> None:
    flag = "--" + setting.name.replace("_", "-")
    command = [sys.executable, "-m", "tidegate", "agent", "--config", "file:/etc", "--run-dir", str(tmp_path / "run")]
    told = [*command, flag, str(setting.metadata["most"] + 1)]
    done = subprocess.run(told, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 2, done.stderr
    assert "is out of range" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.case("E7")
def test_each_socket_in_a_run_directory_has_an_address() -> None:
    """The longest name that fits into struct sockaddr_un is found before anything is started."""
    longest = "/" + "x" * (settings.LONGEST_RUN_DIR - 1)
    for names in ("relay/" + relay.LONGEST_SOCKET, "envoy/admin.sock", "dns/control.sock", "agent.sock", "xds.sock"):
        assert len(f"{longest}/{names}") <= UNIX_PATH_MAX == settings.LONGEST_SOCKET
    for build, more in ((from_environment, {}), (settings.gateway_from_environment, {"selector": "a=b"})):
        assert build({"config": ["file:/etc"], "run_dir": Path(longest), **more}, {}).run_dir == Path(longest)
        with pytest.raises(Rejected, match=r"--run-dir .* bytes"):
            build({"config": ["file:/etc"], "run_dir": Path(longest + "x"), **more}, {})
