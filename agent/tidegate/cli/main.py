"""The command line: nouns read, verbs change.

Exit codes everywhere: 0 fine, 1 the thing checked is not so, 2 usage, 3 cannot reach the agent, 4 not permitted or the
kernel lacks it.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import typer

from tidegate import __version__
from tidegate.cli import agent, cni, compile, doctor, explain, inspect, status, validate  # noqa: A004
from tidegate.errors import Fatal, TidegateError, Unreachable

app = typer.Typer(
    name="tidegate",
    help="A service mesh that disappears into the kernel: one agent per node, Istio's API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for room in (agent, cni, validate, compile, status, inspect, explain, doctor):
    room.register(app)
# Other distributions bring commands of their own: the lab, where it is installed.
for plugged in entry_points(group="tidegate.commands"):
    plugged.load()(app)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


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
    except KeyboardInterrupt:
        sys.exit(130)
