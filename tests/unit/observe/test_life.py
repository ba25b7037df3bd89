from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.eventually import eventually

from tidegate.errors import Fatal, Rejected
from tidegate.observe.life import Life, begin, end, living, make_private, require_private


def test_first_stopped_and_killed_lives_are_told_apart(tmp_path: Path) -> None:
    assert begin(tmp_path) == Life(1, "none")
    end(tmp_path, "stopped")
    assert begin(tmp_path) == Life(2, "stopped")
    assert begin(tmp_path) == Life(3, "killed")


def test_a_life_that_an_error_ends_has_failed(tmp_path: Path) -> None:
    with living(tmp_path) as life:
        assert life == Life(1, "none")
    with suppress(Rejected), living(tmp_path) as life:
        assert life == Life(2, "stopped")
        raise Rejected("port 15000", "is taken", "choose another")
    assert begin(tmp_path) == Life(3, "failed")


@pytest.mark.parametrize(("argument", "owner"), [("tidegate", True), ("something-else", False)])
def test_a_live_agent_keeps_its_run_directory(tmp_path: Path, argument: str, owner: bool) -> None:
    with subprocess.Popen(["/bin/cat", "-", f"/dev/null/{argument}"], stdin=subprocess.PIPE) as process:
        cmdline = Path(f"/proc/{process.pid}/cmdline")
        eventually(lambda: argument.encode() in cmdline.read_bytes(), "the kernel shows the new command line")
        (tmp_path / "agent.json").write_text(json.dumps({"starts": 1, "pid": process.pid, "ended": ""}))
        if owner:
            with pytest.raises(Rejected, match=f"running agent with pid {process.pid}"):
                begin(tmp_path)
        else:
            assert begin(tmp_path).previous == "killed"
        process.stdin.close() if process.stdin else None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_run_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(0o755)
    require_private(tmp_path)
    tmp_path.chmod(mode)
    with pytest.raises(Rejected, match="others may write into it"):
        require_private(tmp_path)


@pytest.mark.case("E7")
@pytest.mark.parametrize("inside", ["", "below"])
def test_a_run_directory_that_is_a_file_is_told_with_what_to_do(inside: str, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(Fatal, match=r"cannot be made: .*--run-dir"):
        make_private(tmp_path / "run" / inside)
    make_private(tmp_path / "new" / "one")
    assert (tmp_path / "new" / "one").stat().st_mode & 0o777 == 0o700
