"""The command line as a whole: what is there, and that a command loads what it needs and no more."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from tidegate.cli import main
from tidegate.cli.main import COMMANDS


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidegate", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("module", sorted(set(COMMANDS.values())))
def test_each_command_is_listed_under_the_module_that_registers_it(module: str) -> None:
    room = typer.Typer()
    import_module(f"tidegate.cli.{module}").register(room)
    registered = {command.name for command in room.registered_commands} | {
        group.name for group in room.registered_groups
    }
    assert registered == {name for name, home in COMMANDS.items() if home == module}


@pytest.mark.parametrize("name", [*COMMANDS, "lab", "version"])
def test_each_command_has_a_help_text(name: str) -> None:
    done = run(name, "--help")
    assert (done.returncode, f"tidegate {name}" in done.stdout) == (0, True), done.stdout + done.stderr


def test_help_lists_every_command() -> None:
    told = run("--help").stdout
    assert [name for name in [*COMMANDS, "lab", "version"] if f" {name} " not in told] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("nonsense")
    assert (done.returncode, "No such command 'nonsense'" in done.stderr) == (2, True), done.stderr


def test_a_small_command_does_not_wait_for_what_others_import() -> None:
    """A fifth of a second is what `tidegate version` may take; what costs it is imports, and those can be counted."""
    script = "import sys, tidegate.cli.main; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "asyncio", "google", "grpc", "pydantic", "rich.console", "yaml", "tidegate_lab"}
    assert sorted(heavy & set(done.stdout.split())) == []
    assert sorted(name for name in done.stdout.split() if name.startswith("tidegate.")) == [
        "tidegate.cli",
        "tidegate.cli.main",
        "tidegate.errors",
    ]


def test_an_agent_starts_without_what_few_agents_need() -> None:
    """A third of a second is what an agent imports before it does anything; what serves others, answers `explain` or
    runs gateways comes when it is asked for, and the messages of the API when the first document of a kind is read."""
    script = (
        "import sys, tidegate.app\n"
        "from tidegate.config.schema import ApiModel\n"
        "def below(c): return {c}.union(*map(below, c.__subclasses__()))\n"
        "print(*sorted(m.__name__ for m in below(ApiModel) - {ApiModel} if m.__pydantic_complete__))\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    complete, modules = done.stdout.split("\n", 1)
    assert complete == ""
    late = {
        "tidegate.compile.explain.trace",
        "tidegate.compile.gateway.compiler",
        "tidegate.compile.others",
        "tidegate.xds.discovery",
    }
    assert sorted(late & set(modules.split())) == []


@pytest.mark.case("E3", "E7")
@pytest.mark.parametrize("number", sorted(main.EXHAUSTED))
def test_a_full_disk_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "/run/tidegate/x")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (4, 1)
    assert told.startswith(f"tidegate: /run/tidegate/x: {os.strerror(number)}; ")


def test_what_nobody_expected_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EBADMSG, "odd")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(OSError, match="odd"):
        main.main()
