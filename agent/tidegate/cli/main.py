"""The command line: nouns read, verbs change.

Exit codes everywhere: 0 fine, 1 the thing checked is not so, 2 usage, 3 cannot reach the agent, 4 not permitted or the
kernel lacks it. A command's module is imported when the command is used: scripts call `tidegate` in loops, and most of
what one command needs the others do not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from errno import EDQUOT, EFBIG, EMFILE, ENFILE, ENOSPC, EROFS
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from tidegate import __version__
from tidegate.errors import Fatal, TidegateError, Unreachable

# Name -> module of this room that registers it; in the order of --help.
COMMANDS = {
    "agent": "agent",
    "gateway": "gateway",
    "cni": "cni",
    "validate": "validate",
    "compile": "compile",
    "status": "status",
    "metrics": "status",
    "pods": "inspect",
    "services": "inspect",
    "certs": "certs",
    "policies": "inspect",
    "explain": "explain",
    "doctor": "doctor",
    "xds": "xds",
    "ca": "ca",
}
# What no program of ours can help: the place for files is full, read-only, or bounded; no descriptor or file is left.
EXHAUSTED = frozenset({ENOSPC, EDQUOT, EFBIG, EROFS, EMFILE, ENFILE})
PLUGGED = "tidegate.commands"  # entry points by which other distributions bring commands of their own


class Commands(TyperGroup):
    """The commands of this room and, by entry point, those of other distributions, each imported on demand."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *_plugged(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return _command(import_module(f"tidegate.cli.{COMMANDS[cmd_name]}").register, cmd_name)
        own = super().get_command(ctx, cmd_name)
        if own is None and (load := _plugged().get(cmd_name)):
            return _command(load(), cmd_name)
        return own


app = typer.Typer(
    name="tidegate",
    cls=Commands,
    help="A service mesh that disappears into the kernel: one agent per node, Istio's API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Typer makes a group of an application with one command only if it has a callback."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def _command(register: Callable[[typer.Typer], None], name: str) -> Any:
    """One of the commands that a module registers."""
    room = typer.Typer(add_completion=False)
    room.callback()(lambda: None)
    register(room)
    group: Any = typer.main.get_command(room)
    return group.commands[name]


def _plugged() -> dict[str, Callable[[], Callable[[typer.Typer], None]]]:
    from importlib.metadata import entry_points  # not needed by the commands of this room

    return {entry.name: entry.load for entry in entry_points(group=PLUGGED)}


def main() -> None:
    """Entry point of the `tidegate` command."""
    try:
        app()
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, Unreachable) else 4 if isinstance(error, Fatal) else 1)
    except PermissionError as error:
        remedy = "" if os.geteuid() == 0 else "; run as root"
        print(f"tidegate: not permitted: {error}{remedy}", file=sys.stderr)
        sys.exit(4)
    except OSError as error:
        if error.errno not in EXHAUSTED:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"tidegate: {where}{error.strerror}; make room, or raise the limit, and start again", file=sys.stderr)
        sys.exit(4)
    except KeyboardInterrupt:
        sys.exit(130)
