"""What the CLI and labd say to each other: one JSON line each way over labd's unix socket, and progress in between.

Request ``{"do": NAME, ...}``; answers any number of ``{"progress": TEXT}`` and then ``{"result": VALUE}`` or
``{"error": {"kind", "subject", "reason", "remedy"}}``. The socket's mode is 0600: who may connect may do anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tidegate.errors import Fatal, Rejected, TidegateError, Transient, Unreachable

log = logging.getLogger(__name__)

UNATTENDED = "labd, which ran it, has ended; what it started may go on, but nobody looks after it"
LIMIT = 4 << 20  # bytes of one line
_KINDS: Mapping[str, type[TidegateError]] = {
    kind.__name__: kind for kind in (Rejected, Transient, Fatal, Unreachable, TidegateError)
}

Progress = Callable[[str], None]
Operation = Callable[[Mapping[str, Any], Progress], Awaitable[Any]]


async def serve(path: Path, handlers: Mapping[str, Operation]) -> asyncio.Server:
    """Answer on the socket until closed. A handler runs to its end even when its caller goes away."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(message: Mapping[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(message).encode() + b"\n")

        try:
            request = json.loads(await reader.readline())
            handler = handlers.get(request["do"])
            if handler is None:
                raise Rejected(f"request {request['do']}", "is not known to this labd", "it may be older than the CLI")
            send({"result": await handler(request, lambda text: send({"progress": text}))})
        except TidegateError as error:
            kind = type(error).__name__
            said = {"kind": kind, "subject": error.subject, "reason": error.reason, "remedy": error.remedy}
            send({"error": said})
        except Exception as error:
            log.exception("request")
            send({"error": {"kind": "Fatal", "subject": "labd", "reason": repr(error), "remedy": "see labd.log"}})
        finally:
            writer.close()

    server = await asyncio.start_unix_server(session, path, limit=LIMIT)
    os.chmod(path, 0o600)
    return server


def call(path: Path, request: Mapping[str, Any], progress: Progress, silence: float | None = None) -> Any:
    """Ask labd and wait for its result. Raises what labd raised, Unreachable when there is no labd or it says
    nothing for `silence` seconds, Fatal for others than root."""
    lab = f"lab {path.parent.name}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(silence)
        try:
            sock.connect(str(path))
        except PermissionError:
            raise Fatal(lab, "belongs to root", "run as root") from None
        except ConnectionRefusedError:
            raise Unreachable(lab, UNATTENDED, "`lab up` makes it anew, `lab down` removes it") from None
        except OSError as error:
            raise Unreachable(lab, f"is not running ({error.strerror or error})", "tidegate lab up") from None
        with sock.makefile("rb") as lines:
            for line in _lines(sock, lines, json.dumps(request).encode() + b"\n", lab):
                message = json.loads(line)
                if "progress" in message:
                    progress(message["progress"])
                elif "error" in message:
                    said = message["error"]
                    raise _KINDS.get(said["kind"], TidegateError)(said["subject"], said["reason"], said["remedy"])
                else:
                    return message["result"]
    raise Unreachable(lab, "labd went away", f"see {path.parent}/labd.log; tidegate lab down")


def _lines(sock: socket.socket, answers: BinaryIO, request: bytes, lab: str) -> Iterator[bytes]:
    try:
        sock.sendall(request)
        yield from answers
    except TimeoutError:
        raise Unreachable(lab, f"labd has said nothing for {sock.gettimeout():g} s", "tidegate lab down") from None
