"""Find running agents and ask them over their unix sockets."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import Fatal, Rejected, Unreachable
from tidegate.settings import DEFAULT_RUN_DIR

LAB_RUN_DIR = Path("/run/tidegate-lab")
DEFAULT_LAB = "lab"


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """JSON that one agent gave; node is its name as it says itself or, failing that, its directory."""

    socket: Path
    value: Any


def agent_sockets(run_dir: Path | None = None) -> list[Path]:
    """Sockets of the agents that are meant. Raises Unreachable, and Fatal when they are not for this user.

    Those of one run directory; else of the lab named by TIDEGATE_LAB (default `lab`, as for `tidegate lab`) if it
    runs; else the node's own.
    """
    lab = os.environ.get("TIDEGATE_LAB")
    if run_dir is not None:
        candidates = [run_dir / "agent.sock"]
    else:
        directory = LAB_RUN_DIR / (lab or DEFAULT_LAB)
        if directory.is_dir() and not os.access(
            directory, os.R_OK | os.X_OK
        ):  # glob() would find nothing and not say why
            raise Fatal(f"lab {directory.name}", "belongs to root", "run as root")
        candidates = sorted(directory.glob("nodes/*/agent.sock"))
        if not candidates and lab is not None and directory.is_dir():
            raise Unreachable(f"lab {lab}", "has no agent", "was it started with --mesh off? see `tidegate lab pods`")
        if not candidates and lab is None:
            candidates = [DEFAULT_RUN_DIR / "agent.sock"]
    try:
        found = [path for path in candidates if path.exists()]
    except PermissionError as error:
        raise Fatal("tidegate agent", f"{error.filename} is not for this user", "run as root") from None
    if not found:
        where = run_dir or (f"lab {lab}" if lab else DEFAULT_RUN_DIR)
        raise Unreachable("tidegate agent", f"none runs in {where}", "start `tidegate agent` or `tidegate lab up`")
    return found


def ask(path: str, query: Mapping[str, str] | None = None, run_dir: Path | None = None) -> list[AgentAnswer]:
    """GET path from every agent found; unreachable ones are left out unless none answers."""
    sockets = agent_sockets(run_dir)
    answers = asyncio.run(_ask_all(sockets, path, query or {}))
    if not answers:
        raise Unreachable("tidegate agent", f"{sockets[0]} does not answer", "is the agent running?")
    return answers


def ask_text(path: str, run_dir: Path | None = None) -> list[str]:
    """As ask(), for endpoints that serve text."""
    return [str(a.value) for a in ask(path, run_dir=run_dir)]


async def _ask_all(sockets: Sequence[Path], path: str, query: Mapping[str, str]) -> list[AgentAnswer]:
    results = await asyncio.gather(*(_ask(s, path, query) for s in sockets), return_exceptions=True)
    answers = []
    for socket, result in zip(sockets, results, strict=True):
        if isinstance(result, Rejected):
            raise result
        if isinstance(result, OSError) and result.errno in (errno.EACCES, errno.EPERM):
            raise Fatal(f"agent at {socket}", "does not answer this user", "run as root")
        if not isinstance(result, BaseException):
            answers.append(AgentAnswer(socket, result))
    return answers


async def _ask(socket: Path, path: str, query: Mapping[str, str]) -> Any:
    # Here, and not above: a third of the time that a command takes to start, and most commands do without.
    from tidegate.runtime.http import aiohttp

    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
        session.get(f"http://agent/{path}", params=query) as response,
    ):
        if response.status == 404:
            raise Rejected(f"agent at {socket}", f"has no /{path}", "it may be older than this command: restart it")
        if response.content_type != "application/json":
            return await response.text()
        value = await response.json()
        if response.status == 400:
            raise Rejected("request", str(value["error"]))
        return value
