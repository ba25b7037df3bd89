"""The service that certifies workloads: our server to a caller that knows the public form only, and our client to our
server. What istiod would answer, and what ztunnel would ask, is written here byte by byte."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from tests.support.authorities import below, signer
from tests.support.certificate_service import (
    WORD,
    RunningAuthority,
    authority_running,
    create,
    request_bytes,
    row,
)
from tests.support.mesh_origin import certified, mesh_authority
from tests.support.revoking import revoking

from tidegate.ca.callers import caller_table
from tidegate.ca.issuing import Refusal
from tidegate.ca.rates import Rates
from tidegate.errors import Rejected, Transient
from tidegate.identity.authority import BEFORE
from tidegate.identity.chains import check, described
from tidegate.identity.keys import KeysInMemory
from tidegate.identity.remote import RemoteAuthority
from tidegate.identity.revocation import revocations_in
from tidegate.model.identity import Identity

CART = Identity("default", "cart").spiffe("cluster.local")
OTHER = Identity("other", "cart").spiffe("cluster.local")
HOUR = 3600.0


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningAuthority]:
    async with authority_running(tmp_path / "ca") as authority:
        yield authority


def impersonating(spiffe: str) -> dict[str, str]:
    return {"ImpersonatedIdentity": spiffe}


async def test_a_plain_caller_gets_leaf_and_roots_in_istios_order(running: RunningAuthority) -> None:
    new = KeysInMemory().new(CART)
    request = request_bytes(new.request, 600, impersonating(CART))
    chain = await create(running.port, running.root.read_bytes(), request, token=WORD)
    assert len(chain) == 2
    leaf, roots = (one.encode() for one in chain)
    found = check(leaf, roots, CART, new.request, time.time())
    assert found.not_after - found.not_before == 600 + BEFORE.total_seconds()
    assert roots == running.root.read_bytes()
    (line,) = running.told
    assert (line.caller, line.identity, line.serial, line.refusal) == ("node1", CART, found.serial, None)


async def test_a_caller_with_a_certificate_gets_what_it_is(running: RunningAuthority) -> None:
    own = certified(mesh_authority(running.folder), "cart")
    new = KeysInMemory().new(CART)
    root = running.root.read_bytes()
    chain = await create(running.mtls_port, root, request_bytes(new.request), pair=(own.chain, own.key))
    assert described(chain[0].encode())[0].names == (CART,)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(running.mtls_port, root, request_bytes(new.request))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, "without one the handshake ends"


async def test_who_is_revoked_gets_nothing(tmp_path: Path) -> None:
    own = certified(mesh_authority(tmp_path), "cart")
    async with authority_running(tmp_path, revoked=revocations_in(revoking(tmp_path, own), "list")) as running:
        request = request_bytes(KeysInMemory().new(CART).request)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await create(running.mtls_port, running.root.read_bytes(), request, pair=(own.chain, own.key))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "is revoked" in (refused.value.details() or "")


@pytest.mark.parametrize(
    ("wanted", "csr_of", "token", "code", "why"),
    [
        (CART, CART, "", grpc.StatusCode.UNAUTHENTICATED, "neither a token nor a certificate"),
        (CART, CART, "another-word-of-somebody", grpc.StatusCode.UNAUTHENTICATED, "none of the table"),
        (OTHER, OTHER, WORD, grpc.StatusCode.PERMISSION_DENIED, "may not ask for"),
        (CART, OTHER, WORD, grpc.StatusCode.INVALID_ARGUMENT, "the certificate request is for"),
        ("", CART, WORD, grpc.StatusCode.INVALID_ARGUMENT, "does not say whom"),
        ("cart", CART, WORD, grpc.StatusCode.INVALID_ARGUMENT, "is no spiffe://"),
        (CART.replace("cluster.local", "corp"), CART, WORD, grpc.StatusCode.PERMISSION_DENIED, "trust domain corp"),
    ],
)
async def test_a_refusal_says_why_and_is_in_the_log(
    wanted: str, csr_of: str, token: str, code: grpc.StatusCode, why: str, running: RunningAuthority
) -> None:
    metadata = impersonating(wanted) if wanted else None
    request = request_bytes(KeysInMemory().new(csr_of).request, 600, metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(running.port, running.root.read_bytes(), request, token=token)
    assert (refused.value.code(), why in (refused.value.details() or "")) == (code, True), refused.value.details()
    (line,) = running.told
    assert why in line.reason
    assert token not in line.reason or not token
    assert running.issuing.counts[line.refusal] == 1


async def test_what_is_no_message_of_this_form_is_refused(running: RunningAuthority) -> None:
    root = running.root.read_bytes()
    for request in (b"\xff" * 20, request_bytes(b"x" * 100_000)):
        with pytest.raises(grpc.aio.AioRpcError):
            await create(running.port, root, request, token=WORD)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(running.port, root, request_bytes(b"no csr", 600, impersonating(CART)), token=WORD)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    new = KeysInMemory().new(CART)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(running.port, root, request_bytes(new.request, 600, {"ImpersonatedIdentity": 7}), token=WORD)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_asks_too_often_is_told_so(tmp_path: Path) -> None:
    async with authority_running(tmp_path, rates=Rates(0.001, 2)) as running:
        root, codes = running.root.read_bytes(), []
        for _ in range(3):
            request = request_bytes(KeysInMemory().new(CART).request, 600, impersonating(CART))
            try:
                await create(running.port, root, request, token=WORD)
            except grpc.aio.AioRpcError as error:
                codes.append(error.code())
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert running.issuing.counts == {"issued": 2, Refusal.TOO_OFTEN: 1}


# Our client


def client(running: RunningAuthority, tmp_path: Path, word: str = WORD, server_name: str = "") -> RemoteAuthority:
    token = tmp_path / "token"
    token.write_text(word + "\n")
    return RemoteAuthority(running.address, running.root, token, server_name=server_name)


async def ask(authority: RemoteAuthority, spiffe: str = CART) -> bytes:
    """The chain that comes, checked."""
    new = KeysInMemory().new(spiffe)
    signed = await authority.sign(spiffe, "cluster.local", new.request, time.time(), HOUR)
    check(signed.chain, signed.roots, spiffe, new.request, time.time())
    return signed.chain


async def test_our_client_gets_what_it_asks_for(running: RunningAuthority, tmp_path: Path) -> None:
    authority = client(running, tmp_path)
    assert described(await ask(authority))[0].names == (CART,)
    await authority.close()
    by_name = client(running, tmp_path, server_name="authority.example")
    assert described(await ask(by_name))[0].names == (CART,)
    await by_name.close()


async def test_the_token_is_read_anew(running: RunningAuthority, tmp_path: Path) -> None:
    authority = client(running, tmp_path, "a-word-of-before-that-is-old")
    with pytest.raises(Rejected, match="UNAUTHENTICATED"):
        await ask(authority)
    (tmp_path / "token").write_text(WORD)
    await ask(authority)
    (tmp_path / "token").unlink()
    with pytest.raises(Rejected, match="cannot be read"):
        await ask(authority)
    await authority.close()


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("no root"), lambda path: path.unlink()])
async def test_a_root_that_cannot_be_read_is_told(
    spoil: Callable[[Path], None], running: RunningAuthority, tmp_path: Path
) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(running.root.read_bytes())
    token = tmp_path / "token"
    token.write_text(WORD)
    authority = RemoteAuthority(running.address, root, token)
    spoil(root)
    with pytest.raises(Rejected, match=str(root)):
        await ask(authority)
    await authority.close()


async def test_a_server_that_is_somebody_else_hears_no_token(tmp_path: Path, running: RunningAuthority) -> None:
    other = mesh_authority(tmp_path / "other")
    root = tmp_path / "root.pem"
    root.write_bytes(other.roots)
    (tmp_path / "token").write_text(WORD)
    for authority in (
        RemoteAuthority(running.address, root, tmp_path / "token"),
        RemoteAuthority(running.address, running.root, tmp_path / "token", server_name="somebody.else"),
    ):
        with pytest.raises(Transient, match="is away"):
            await ask(authority)
        await authority.close()
    assert running.told == []


async def test_away_and_back(tmp_path: Path) -> None:
    async with authority_running(tmp_path / "ca") as running:
        authority = client(running, tmp_path)
        await ask(authority)
        port = running.port
    with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
        await ask(authority)
    async with authority_running(tmp_path / "ca", port=port):
        await ask(authority)
    await authority.close()


async def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.identity.remote.ANSWER_SECONDS", 0.2)
    (tmp_path / "token").write_text(WORD)
    mesh_authority(tmp_path / "ca")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        authority = RemoteAuthority(address, tmp_path / "ca" / "root-cert.pem", tmp_path / "token")
        with pytest.raises(Transient, match="does not answer in time"):
            await ask(authority)
        await authority.close()


async def test_what_the_table_says_counts_at_once(running: RunningAuthority, tmp_path: Path) -> None:
    authority = client(running, tmp_path)
    with pytest.raises(Rejected, match="PERMISSION_DENIED"):
        await ask(authority, OTHER)
    running.table = caller_table(row("node1", WORD, "*/cart").encode(), "table")
    await ask(authority, OTHER)
    await authority.close()


async def test_roots_that_an_answer_brings_let_the_server_change_its_own(tmp_path: Path) -> None:
    """The file with the root stays as it is; who was told of the next root believes a server that shows it."""
    folder = tmp_path / "ca"
    following = mesh_authority(tmp_path / "next")
    mesh_authority(folder)
    (folder / "trusted-roots.pem").write_bytes(following.roots)
    root = tmp_path / "root.pem"
    root.write_bytes((folder / "root-cert.pem").read_bytes())
    (tmp_path / "token").write_text(WORD)
    async with authority_running(folder) as running:
        authority = RemoteAuthority(running.address, root, tmp_path / "token")
        await ask(authority)
        port = running.port
    (folder / "trusted-roots.pem").write_bytes((folder / "root-cert.pem").read_bytes())
    for name in ("root-key.pem", "root-cert.pem"):
        os.replace(tmp_path / "next" / name, folder / name)
    with pytest.raises(Transient):
        await ask(authority)
    async with authority_running(folder, port=port):
        await ask(authority)
        request = request_bytes(KeysInMemory().new(CART).request, 600, impersonating(CART))
        chain = await create(port, following.roots, request, token=WORD)
        found = [one.id for one in described(chain[1].encode())]
        assert found == [described(following.roots)[0].id, described(root.read_bytes())[0].id]
    await authority.close()


async def test_a_root_that_changes_under_the_server_signs_at_once(running: RunningAuthority, tmp_path: Path) -> None:
    following = mesh_authority(tmp_path / "next")
    authority = client(running, tmp_path)
    before = described(await ask(authority))[0]
    (running.folder / "trusted-roots.pem").write_bytes(running.root.read_bytes())
    for name in ("root-key.pem", "root-cert.pem"):
        os.replace(tmp_path / "next" / name, running.folder / name)
    after = described(await ask(authority))[0]
    assert (before.issuer != after.issuer, after.issuer) == (True, following.name)
    await authority.close()


async def test_below_a_root_each_that_is_between_is_an_element_of_the_answer(tmp_path: Path) -> None:
    root = signer("root")
    between = signer("between", root)
    folder = below(tmp_path / "ca", signer("own", between), [between, root], [root])
    async with authority_running(folder) as running:
        new = KeysInMemory().new(CART)
        request = request_bytes(new.request, 600, impersonating(CART))
        chain = await create(running.port, root.pem, request, token=WORD)
        subjects = [[one.subject for one in described(text.encode())] for text in chain]
        assert subjects == [[""], ["CN=own"], ["CN=between"], ["CN=root"]]
        authority = client(running, tmp_path)
        assert len(described(await ask(authority))) == 3
        await authority.close()
