"""The real plugin binary, run as a container runtime runs it, against an agent's socket or none."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cni import PLUGIN, PREVIOUS, Recorder, call

from tidegate.enroll.cni_server import CniServer
from tidegate.errors import Rejected, Transient

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.fixture
def agent() -> Recorder:
    return Recorder()


@pytest.fixture
async def sock(tmp_path: Path, agent: Recorder) -> AsyncIterator[Path]:
    server = CniServer(tmp_path / "cni.sock", agent)
    await server.start()
    yield tmp_path / "cni.sock"
    await server.stop()


@pytest.mark.parametrize("version", VERSIONS)
async def test_add_prints_the_previous_result_as_it_came(sock: Path, agent: Recorder, version: str) -> None:
    done = await call("ADD", sock, version=version, previous={**PREVIOUS, "cniVersion": version})
    assert done.code == 0, done
    assert list(done.json.items()) == list({**PREVIOUS, "cniVersion": version}.items())
    assert [str(ip) for ip in agent.requests[0].ips] == ["10.0.0.2"]
    assert agent.requests[0].cni_version == version


async def test_the_agent_gets_the_namespace_itself(sock: Path, agent: Recorder) -> None:
    await call("ADD", sock)
    assert agent.inodes == [os.stat("/proc/self/ns/net").st_ino]


async def test_add_returns_when_the_agent_is_done(sock: Path, agent: Recorder) -> None:
    agent.delay = 0.3
    before = time.monotonic()
    assert (await call("ADD", sock)).code == 0
    assert time.monotonic() - before >= 0.3


@pytest.mark.parametrize("command", ["CHECK", "DEL", "STATUS", "GC"])
async def test_other_calls_print_nothing(sock: Path, command: str) -> None:
    done = await call(command, sock, version="1.1.0")
    assert (done.code, done.stdout) == (0, "")


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_without_an_agent_the_runtime_has_to_try_again(tmp_path: Path, command: str, version: str) -> None:
    done = await call(command, tmp_path / "absent.sock", version=version)
    assert done.code != 0
    assert (done.json["code"], done.json["cniVersion"]) == (11, version)
    assert "absent.sock" in done.json["details"]


async def test_a_socket_that_a_killed_agent_left_counts_as_away(sock: Path) -> None:
    os.link(sock, sock.with_name("stale"))
    stale = sock.with_name("stale")
    server = CniServer(sock.with_name("other"), Recorder())
    await server.start()
    sock.with_name("other").rename(stale)
    await server.stop()
    assert (await call("ADD", stale)).json["code"] == 11


async def test_without_an_agent_a_pod_can_still_go(tmp_path: Path) -> None:
    for command in ("DEL", "GC"):
        done = await call(command, tmp_path / "absent.sock", version="1.1.0")
        assert (done.code, done.stdout) == (0, "")
    assert (await call("STATUS", tmp_path / "absent.sock", version="1.1.0")).json["code"] == 50


@pytest.mark.parametrize("netns", ["/run/netns/absent-x", "", None])
async def test_del_works_when_the_namespace_is_gone(sock: Path, agent: Recorder, netns: str | None) -> None:
    assert (await call("DEL", sock, CNI_NETNS=netns)).code == 0
    assert [request.netns_fd for request in agent.requests] == [-1]


async def test_what_the_agent_refuses_is_refused_with_its_reason(sock: Path, agent: Recorder) -> None:
    agent.failure = Transient("pod default/web", "not enrolled within 20 s", "try again")
    done = await call("ADD", sock)
    assert done.code != 0
    assert done.json == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "pod default/web",
        "details": "not enrolled within 20 s; try again",
    }
    agent.failure = Rejected("pod default/web", "is wrong")
    assert (await call("ADD", sock)).json["code"] == 100


async def test_an_agent_that_does_not_answer_is_given_up(sock: Path, agent: Recorder) -> None:
    agent.delay = 60
    done = await call("ADD", sock, config={"timeoutSeconds": 0.2})
    assert done.code == 1, done
    assert done.json["code"] == 11
    assert "timed out" in done.json["details"]
    assert (await call("DEL", sock, config={"timeoutSeconds": 0.2})).code == 0


@pytest.mark.parametrize("answer", [b"", b"{", b"nonsense\n", b"[1]\n", b" " * (2 << 20)])
async def test_an_agent_that_talks_nonsense_is_no_agent(tmp_path: Path, answer: bytes) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(session, tmp_path / "odd.sock", limit=4 << 20)
    done = await call("ADD", tmp_path / "odd.sock")
    server.close()
    assert (done.code, done.json["code"]) == (1, 11)


async def test_version_is_answered_without_an_agent(tmp_path: Path) -> None:
    for version in ("0.4.0", "1.0.0", "1.1.0"):
        done = await call("VERSION", tmp_path / "absent.sock", stdin=json.dumps({"cniVersion": version}).encode())
        assert done.json["cniVersion"] == version
        assert {"0.4.0", "1.0.0", "1.1.0"} <= set(done.json["supportedVersions"])


@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_COMMAND"])
async def test_a_missing_variable_is_named(sock: Path, variable: str) -> None:
    unset: dict[str, Any] = {variable: None}
    done = await call("ADD", sock, **unset)
    assert (done.code, done.json["code"]) == (1, 4)
    assert variable in done.json["msg"]


@pytest.mark.case("E1")
@pytest.mark.parametrize("ifname", ["a/b", "..", "a b", "eth0:1", "sixteen-letters-"])
async def test_a_name_that_no_interface_can_have_is_refused_at_once(sock: Path, agent: Recorder, ifname: str) -> None:
    done = await call("ADD", sock, CNI_IFNAME=ifname)
    assert not agent.requests
    assert (done.code, done.json["code"]) == (1, 4)
    assert "CNI_IFNAME" in done.json["msg"]
    assert (await call("DEL", sock, CNI_IFNAME=ifname)).code == 0, "what never came may go"


@pytest.mark.case("E1")
@pytest.mark.parametrize("ifname", ["fifteen-letters", "net1", "eth0.100", "bücke"])
async def test_any_name_that_an_interface_can_have_reaches_the_agent(sock: Path, agent: Recorder, ifname: str) -> None:
    assert (await call("ADD", sock, CNI_IFNAME=ifname)).code == 0
    assert [request.ifname for request in agent.requests] == [ifname]


async def test_what_cannot_be_meant_is_refused_before_the_agent_hears_of_it(sock: Path, agent: Recorder) -> None:
    refused = {
        1: await call("ADD", sock, version="9.9.9"),
        4: await call("ADD", sock, CNI_NETNS="/run/netns/absent-x"),
        5: await call("ADD", sock, stdin=b"{" + b" " * (1 << 20)),
        6: await call("ADD", sock, stdin=b"nonsense"),
        7: await call("ADD", sock, previous=None),
    }
    assert {code: done.json["code"] for code, done in refused.items()} == {code: code for code in refused}
    assert (await call("DANCE", sock)).json["code"] == 4
    assert (await call("ADD", sock, CNI_ARGS="x" * 70000)).json["code"] == 4
    assert (await call("ADD", sock, config={"timeoutSeconds": "soon"})).json["code"] == 7
    assert not agent.requests


def test_the_binary_needs_no_library() -> None:
    headers = subprocess.run(["readelf", "-l", PLUGIN], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
