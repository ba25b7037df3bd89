from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cni import Recorder
from tests.support.eventually import HANG_SECONDS

from tidegate.enroll import cni_server, wire
from tidegate.enroll.cni_server import CniServer
from tidegate.errors import Transient


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def path(tmp_path: Path, recorder: Recorder) -> AsyncIterator[Path]:
    server = CniServer(tmp_path / "cni.sock", recorder)
    await server.start()
    yield tmp_path / "cni.sock"
    await server.stop()


def request(command: str = "ADD", **changes: Any) -> bytes:
    args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
    message = {"protocol": wire.PROTOCOL, "command": command, "containerId": "c1", "args": args, "config": {}}
    return json.dumps({**message, **changes}).encode() + b"\n"


async def exchange(path: Path, parts: list[bytes], fds: list[int]) -> Any:
    """Send parts, the descriptors with the first; the answer."""

    def run() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(HANG_SECONDS)
            client.connect(str(path))
            socket.send_fds(client, [parts[0]], fds)
            for part in parts[1:]:
                client.sendall(part)
            if not parts[-1].endswith(b"\n"):
                client.shutdown(socket.SHUT_WR)
            return client.makefile("rb").readline()

    return json.loads(await asyncio.to_thread(run))


async def test_the_socket_is_for_root_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_descriptor_arrives_and_is_closed_afterwards(path: Path, recorder: Recorder) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    answer = await exchange(path, [request()], [fd])
    assert "error" not in answer
    assert recorder.inodes == [os.fstat(fd).st_ino]
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == open_before


async def test_a_request_may_come_in_pieces(path: Path, recorder: Recorder) -> None:
    whole = request()
    fd = os.open("/dev/null", os.O_RDONLY)
    await exchange(path, [whole[:10], whole[10:20], whole[20:]], [fd])
    os.close(fd)
    assert [r.pod.name for r in recorder.requests] == ["web"]


async def test_add_without_a_namespace_is_refused_and_del_is_not(path: Path, recorder: Recorder) -> None:
    answer = await exchange(path, [request()], [])
    assert "without its network namespace" in answer["error"]["details"]
    assert "error" not in await exchange(path, [request("DEL")], [])
    assert [r.command for r in recorder.requests] == ["DEL"]


@pytest.mark.case("E2")
async def test_status_and_gc_are_asked_of_the_agent(path: Path, recorder: Recorder) -> None:
    for command in ("STATUS", "GC"):
        assert "error" not in await exchange(path, [request(command, containerId="")], [])
    assert [r.command for r in recorder.requests] == ["STATUS", "GC"]
    recorder.failure = wire.NotServing("the agent", "not ready: relay up", limited=True)
    answer = await exchange(path, [request("STATUS", containerId="")], [])
    assert answer["error"]["code"] == wire.LIMITED


async def test_a_failure_of_the_handler_is_the_answer(path: Path, recorder: Recorder) -> None:
    recorder.failure = Transient("pod default/web", "not enrolled")
    answer = await exchange(path, [request("DEL")], [])
    assert answer["error"]["code"] == wire.TRY_AGAIN


async def test_a_broken_handler_answers_and_the_next_call_works(path: Path, recorder: Recorder) -> None:
    recorder.failure = ZeroDivisionError("oops")  # type: ignore[assignment]
    assert "oops" in (await exchange(path, [request("DEL")], []))["error"]["details"]
    recorder.failure = None
    assert "error" not in await exchange(path, [request("DEL")], [])


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"nonsense\n"], "is not JSON"),
        ([b'{"protocol": 1'], "ended too early"),
        ([b" ", b" " * (wire.MAX_BYTES + (1 << 17))], "longer than 1 MiB"),
    ],
)
async def test_what_is_no_request_gets_an_answer_too(path: Path, parts: list[bytes], reason: str) -> None:
    try:
        answer = await exchange(path, parts, [])
    except (BrokenPipeError, ConnectionResetError):
        assert reason == "longer than 1 MiB"  # the server answered and hung up before all of it was sent
        return
    assert reason in answer["error"]["details"]


async def test_a_caller_that_says_nothing_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni_server, "RECEIVE_SECONDS", 0.05)

    def silent() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(HANG_SECONDS)
            client.connect(str(path))
            return client.makefile("rb").readline()

    assert "did not arrive" in json.loads(await asyncio.to_thread(silent))["error"]["details"]


async def test_a_socket_that_a_killed_agent_left_is_replaced(tmp_path: Path, recorder: Recorder) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "cni.sock"))
    stale.close()
    server = CniServer(tmp_path / "cni.sock", recorder)
    await server.start()
    assert "error" not in await exchange(tmp_path / "cni.sock", [request("DEL")], [])
    await server.stop()
    assert not (tmp_path / "cni.sock").exists()
