"""Certificates in files: read in pairs, and read again when they change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.certificates import Authority, Pair
from tests.support.configs import config_of
from tests.support.eventually import HANG_SECONDS
from tests.support.gateways import gateway, server

from tidegate.compile.gateway.tls import Materials
from tidegate.gateway.files import CertificateDirectory

AUTHORITY = Authority()
FIRST, SECOND = AUTHORITY.issue("shop.example"), AUTHORITY.issue("shop.example")


class Turned:
    """A clock whose sleeper wakes when the test says so, also if it goes to sleep only after that."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(0)

    def now(self) -> float:
        return 0.0

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        await self._turns.acquire()

    def turn(self) -> None:
        self._turns.release()


@contextlib.asynccontextmanager
async def running(directory: CertificateDirectory) -> AsyncIterator[None]:
    task = asyncio.create_task(directory.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def newer(directory: CertificateDirectory, version: int) -> tuple[int, Materials]:
    async with asyncio.timeout(HANG_SECONDS):
        return await directory.materials.newer(version)


def write(path: Path, pair: Pair) -> None:
    (path / "tls.crt").write_bytes(pair.certificate)
    (path / "tls.key").write_bytes(pair.key)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path, FIRST)
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate)
    return tmp_path


def wanted(place: Path) -> str:
    names = f"serverCertificate: {place}/tls.crt, privateKey: {place}/tls.key, caCertificates: {place}/ca.crt"
    return gateway("edge", server(443, "HTTPS", "shop.example", tls=f"mode: MUTUAL, {names}"))


async def test_files_are_read_and_read_again(place: Path) -> None:
    clock = Turned()
    directory = CertificateDirectory(clock)
    directory.want(config_of(wanted(place)).gateways)
    async with running(directory):
        version, found = await newer(directory, 0)
        assert found.files[f"{place}/tls.crt"] == FIRST.certificate
        assert not found.wrong_files
        write(place, SECOND)
        clock.turn()
        _, found = await newer(directory, version)
        assert found.files[f"{place}/tls.key"] == SECOND.key


async def test_in_the_middle_of_a_rotation_the_pair_before_it_serves(place: Path) -> None:
    clock = Turned()
    directory = CertificateDirectory(clock)
    directory.want(config_of(wanted(place)).gateways)
    async with running(directory):
        version, _ = await newer(directory, 0)
        (place / "tls.crt").write_bytes(SECOND.certificate)
        (place / "ca.crt").unlink()
        clock.turn()
        version, found = await newer(directory, version)
        pair = [found.files.get(f"{place}/{name}") for name in ("tls.crt", "tls.key")]
        assert pair == [FIRST.certificate, FIRST.key]
        assert found.files.get(f"{place}/ca.crt") == AUTHORITY.certificate
        assert "is not the key" in found.wrong_files[f"{place}/tls.key"]
        assert found.wrong_files[f"{place}/ca.crt"] == "does not exist"


async def test_what_was_never_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").mkdir()
    directory = CertificateDirectory(Turned())
    directory.want(config_of(wanted(tmp_path)).gateways)
    async with running(directory):
        _, found = await newer(directory, 0)
    assert found.wrong_files[f"{tmp_path}/tls.crt"] == "is no file"
    assert found.wrong_files[f"{tmp_path}/tls.key"] == "does not exist"
    assert not found.files
