"""tidegate ca as a process: callers of a cluster, of a table and with certificates; what it says, and how it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.certificate_service import WORD, create, request_bytes, row
from tests.support.eventually import HANG_SECONDS
from tests.support.kube.fake_api import FakeApi
from tests.support.kube.kubeconfig import of_the_server, write_kubeconfig
from tests.support.kube.objects import pod
from tests.support.mesh_origin import certified, mesh_authority
from tests.support.revoking import revoking
from tests.support.tokens import claims, jwk, jwks, key_for, token

from tidegate.identity.authority import ROOT_CERTIFICATE, ROOT_KEY
from tidegate.identity.chains import described
from tidegate.identity.keys import KeysInMemory
from tidegate.model.identity import Identity

AGENTS = '[[caller]]\nname = "agents"\naccount = "istio-system/agent"\nmay = ["node"]\n'
FAR = 4_000_000_000.0  # until when tokens are good


@dataclass
class Running:
    folder: Path
    port: int
    mtls_port: int
    lines: list[dict[str, Any]]

    async def ask(self, account: str, shown: str, **more: Any) -> str:
        """The name in the certificate, or the code of gRPC."""
        spiffe = Identity("default", account).spiffe("cluster.local")
        csr = KeysInMemory().new(spiffe).request
        metadata = None if more else {"ImpersonatedIdentity": spiffe}
        root = (self.folder / ROOT_CERTIFICATE).read_bytes()
        try:
            chain = await create(
                self.mtls_port if more else self.port, root, request_bytes(csr, 600, metadata), token=shown, **more
            )
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return described(chain[0].encode())[0].names[0]


@asynccontextmanager
async def serving(tmp_path: Path, *options: str) -> AsyncIterator[Running]:
    command = ["ca", "--listen", "127.0.0.1:0", "--listen-mtls", "127.0.0.1:0", "--state-dir", str(tmp_path / "state")]
    command += ["--ca-dir", str(tmp_path / "ca"), *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    lines: list[dict[str, Any]] = []
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.create_task(read_lines(process.stderr, lines))
    try:
        words = (await process.stdout.readline()).decode().split()
        assert words, await process.stderr.read()
        yield Running(tmp_path / "ca", int(words[-3]), int(words[-1]), lines)
    finally:
        process.terminate()
        assert await process.wait() == 0
        await reading


async def read_lines(stream: asyncio.StreamReader, lines: list[dict[str, Any]]) -> None:
    while line := await stream.readline():
        if line.startswith(b"{"):
            lines.append(json.loads(line))


async def run(*arguments: str) -> tuple[int, str]:
    """Exit code and all that is printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidegate", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await asyncio.wait_for(process.communicate(), HANG_SECONDS)
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_a_cluster_says_who_asks_and_who_runs_on_his_node(tmp_path: Path) -> None:
    (tmp_path / "callers.toml").write_text(AGENTS)
    async with FakeApi(ssl=of_the_server(tmp_path)) as api:
        config = write_kubeconfig(tmp_path, api)
        api.reviewed["of-node1"] = {
            "authenticated": True,
            "audiences": ["istio-ca"],
            "user": {
                "username": "system:serviceaccount:istio-system:agent",
                "extra": {"authentication.kubernetes.io/node-name": ["node1"]},
            },
        }
        for name, node in (("near", "node1"), ("far", "node2")):
            one = pod(name, "10.0.0.1")
            one["spec"] |= {"serviceAccountName": name, "nodeName": node}
            api.apply(one)
        options = ("--cluster", f"kube:{config}", "--callers", str(tmp_path / "callers.toml"))
        async with serving(tmp_path, *options) as running:
            assert await running.ask("near", "of-node1") == "spiffe://cluster.local/ns/default/sa/near"
            assert await running.ask("far", "of-node1") == "PERMISSION_DENIED"
            assert await running.ask("near", "of-nobody") == "UNAUTHENTICATED"
            await api.stop()
            assert await running.ask("near", "of-node1") == "UNAVAILABLE"
    told = [(one["outcome"], one.get("caller"), one.get("identity", "").rpartition("/")[2]) for one in running.lines]
    assert told == [
        ("issued", "agents@node1", "near"),
        ("not permitted", "agents@node1", "far"),
        ("unauthenticated", None, ""),
        ("unavailable", None, ""),
    ]
    assert all(one["peer"] == "127.0.0.1" for one in running.lines)
    assert "of-node1" not in json.dumps(running.lines)


async def test_tokens_are_verified_by_keys_in_a_file_and_files_are_followed(tmp_path: Path) -> None:
    keys, table = tmp_path / "keys.json", tmp_path / "callers.toml"
    keys.write_bytes(jwks(jwk("RS256", key_for("RS256"))))
    table.write_text('[[caller]]\nname = "agents"\naccount = "istio-system/agent"\nmay = ["default/near"]\n')
    mine = token(claims(iat=1, nbf=1, exp=FAR))
    others = token(claims(iat=1, nbf=1, exp=FAR), number=1)
    state = str(tmp_path / "state")
    async with serving(tmp_path, "--token-keys", str(keys), "--callers", str(table)) as running:
        assert await running.ask("near", mine) == "spiffe://cluster.local/ns/default/sa/near"
        assert await running.ask("near", others) == "UNAUTHENTICATED"
        keys.write_bytes(jwks(jwk("RS256", key_for("RS256", 1))))
        table.write_text(row("node1", WORD, "default/far"))
        await until(running, "far", WORD, "spiffe://cluster.local/ns/default/sa/far")
        await until(running, "near", mine, "UNAUTHENTICATED")
        assert await running.ask("near", others) == "PERMISSION_DENIED"
        table.write_text("nonsense")
        code, printed = await unwell(state)
        assert (code, "callers.toml: is not TOML" in printed) == (1, True), printed
        assert await running.ask("far", WORD) == "spiffe://cluster.local/ns/default/sa/far", "that of before counts"


async def test_a_certificate_of_the_mesh_gets_what_it_is_until_it_is_revoked(tmp_path: Path) -> None:
    own = certified(mesh_authority(tmp_path / "ca"), "near")
    crl = tmp_path / "crl.pem"
    crl.write_bytes(revoking(tmp_path / "ca"))
    async with serving(tmp_path, "--crl", str(crl)) as running:
        pair = (own.chain, own.key)
        assert await running.ask("near", "", pair=pair) == "spiffe://cluster.local/ns/default/sa/near"
        crl.write_bytes(revoking(tmp_path / "ca", own))
        for _ in range(int(HANG_SECONDS / 0.05)):
            if (found := await running.ask("near", "", pair=pair)) == "UNAUTHENTICATED":
                break
            await asyncio.sleep(0.05)  # the poll itself
        assert found == "UNAUTHENTICATED"
        assert "is revoked" in running.lines[-1]["reason"]


async def until(running: Running, account: str, shown: str, wanted: str) -> None:
    for _ in range(int(HANG_SECONDS / 0.05)):
        if (found := await running.ask(account, shown)) == wanted:
            return
        await asyncio.sleep(0.05)  # the poll itself
    raise AssertionError(f"{found} instead of {wanted}")


async def unwell(state: str) -> tuple[int, str]:
    for _ in range(int(HANG_SECONDS)):
        code, printed = await run("status", "--run-dir", state)
        if code == 1:
            break
    return code, printed


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["--listen", "nowhere"], 2, "is not ADDRESS:PORT"),
        (["--trust-domain", "UPPER"], 2, "is no trust domain"),
        (["--cluster", "file:x"], 2, "is no cluster"),
        (["--certificate-seconds", "1"], 2, "certificate-seconds"),
        (["--callers", "/absent"], 1, "/absent: cannot be read"),
        (["--token-keys", "/absent"], 1, "/absent: cannot be read"),
        (["--crl", "/absent"], 1, "/absent: cannot be read"),
        (["--listen", "192.0.2.1:0"], 4, "cannot listen"),
    ],
)
async def test_it_ends_with_the_reason(options: list[str], code: int, why: str, tmp_path: Path) -> None:
    own = ["ca", "--listen", "127.0.0.1:0", "--ca-dir", str(tmp_path / "ca"), "--state-dir", str(tmp_path), *options]
    assert (found := await run(*own))[0] == code, found
    assert why in found[1].replace("\n", " "), found


async def test_an_authority_that_is_not_whole_does_not_start(tmp_path: Path) -> None:
    mesh_authority(tmp_path / "ca")
    (tmp_path / "ca" / ROOT_KEY).chmod(0o644)
    code, printed = await run("ca", "--listen", "127.0.0.1:0", "--ca-dir", str(tmp_path / "ca"))
    assert (code, "can be read by others" in printed) == (1, True), printed


async def test_help_says_what_a_caller_gets(tmp_path: Path) -> None:
    code, printed = await run("ca", "--help")
    assert code == 0
    for word in ("--callers", "--token-keys", "--cluster", "--crl", "--listen-mtls", "--trust-domain"):
        assert word in printed


async def test_the_root_is_changed_step_by_step_under_the_process(tmp_path: Path) -> None:
    (tmp_path / "callers.toml").write_text(row("node1", WORD, "default/*"))
    async with serving(tmp_path, "--callers", str(tmp_path / "callers.toml")) as running:
        before = mesh_authority(running.folder)
        change = ("ca", "--ca-dir", str(running.folder), "--change-root")
        assert (await run(*change, "switch"))[0] == 1, "it is not its turn"
        for step in ("prepare", "switch"):
            code, printed = await run(*change, step)
            assert (code, "--change-root" in printed) == (0, True), printed
        after = mesh_authority(running.folder)
        assert after.name != before.name
        spiffe = Identity("default", "near").spiffe("cluster.local")
        request = request_bytes(KeysInMemory().new(spiffe).request, 600, {"ImpersonatedIdentity": spiffe})
        chain = await create(running.port, after.roots, request, token=WORD)
        assert described(chain[0].encode())[0].issuer == after.name
        assert [one.subject for one in described(chain[1].encode())] == [after.name, before.name]
        assert (await run(*change, "finish"))[0] == 0
        chain = await create(running.port, after.roots, request, token=WORD)
        assert [one.subject for one in described(chain[1].encode())] == [after.name]
