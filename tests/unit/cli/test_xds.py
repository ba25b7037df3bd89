"""tidegate xds: what it takes, what it refuses, and that it serves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import typer
from envoy.service.cluster.v3 import cds_pb2_grpc
from envoy.service.discovery.v3 import discovery_pb2
from tests.support.configs import pod, service
from tests.support.eventually import eventually
from typer.testing import CliRunner

from tidegate.cli import xds


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    xds.register(app)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize("listen", ["15010", "localhost:15010", "127.0.0.1:", "127.0.0.1:65536", ":::", "127.0.0.1:-1"])
def test_an_address_that_is_none_is_a_usage_error(listen: str, tmp_path: Path) -> None:
    code, out = run("--config", f"file:{tmp_path}", "--listen", listen)
    assert code == 2
    assert "ADDRESS:PORT" in out


def test_a_source_that_there_is_not_is_a_usage_error() -> None:
    assert run("--config", "ftp:/x")[0] == 2


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server over the documents of a directory."""
    (tmp_path / "documents").mkdir()
    command = ["xds", "--config", f"file:{tmp_path}/documents", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-m", "tidegate", *command], stdout=subprocess.PIPE, text=True) as made:
        yield made
        made.kill()


def test_it_serves_what_the_files_say_and_ends_when_asked(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith("serving on 127.0.0.1 port ")
    with grpc.insecure_channel(f"127.0.0.1:{int(said.split()[-1])}") as channel:
        stub = cds_pb2_grpc.ClusterDiscoveryServiceStub(channel)

        def clusters() -> int:
            try:
                answer = stub.FetchClusters(discovery_pb2.DiscoveryRequest(node={"id": "somebody"}))
            except grpc.RpcError:
                return 0  # nothing is read yet
            return len(answer.resources)

        eventually(lambda: clusters() == 1, "no service, and nobody to send to")
        (tmp_path / "documents" / "web.yaml").write_text(
            service("web", "http:80") + "---" + pod("web-1", "app: web", "10.0.0.1")
        )
        eventually(lambda: clusters() == 2, "a service more")
    process.terminate()
    assert process.wait() == 0


def test_who_may_not_write_its_state_serves_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = str(tmp_path / "file" / "state")
    command = ["xds", "--config", f"file:{tmp_path}", "--listen", "127.0.0.1:0", "--state-dir", state]
    with subprocess.Popen(
        [sys.executable, "-m", "tidegate", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as made:
        assert made.stdout is not None
        assert made.stdout.readline().startswith("serving on ")
        made.terminate()
        assert "nobody can ask how it does" in made.communicate()[1]
    assert made.returncode == 0


def test_its_status_is_asked_by_its_state_directory(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    process.stdout.readline()

    def healthy() -> bool:
        ask = [sys.executable, "-m", "tidegate", "status", "--run-dir", str(tmp_path)]
        done = subprocess.run(ask, check=False, capture_output=True, text=True)
        return done.returncode == 0 and "no clients" in done.stdout

    eventually(healthy, "it has read its documents, and nobody is there")


@pytest.mark.parametrize("text", ["edge", "edge=relative.sock", "EDGE=/x.sock", "=/x.sock", "edge=/" + "x" * 107])
def test_a_socket_that_is_none_is_a_usage_error(text: str, tmp_path: Path) -> None:
    code, out = run("--config", f"file:{tmp_path}", "--secrets", text)
    assert code == 2
    assert "NAMESPACE=PATH" in out
