"""Every input that the fuzzers of `make fuzz` start from, and every one that once found something, under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.relay.abi import ffi, lib
from tidegate.settings import build_root

CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
TARGETS = ["cni_call", "cni_wire", "control", "hello", "image", "image_file", "policies", "relay"]


@pytest.mark.parametrize("target", TARGETS)
def test_corpus(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    program = build_root() / "fuzz" / "replay" / target
    ran = subprocess.run([program, *inputs], capture_output=True, check=False, timeout=HANG_SECONDS)
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    assert ran.stdout.decode() == f"{len(inputs)} inputs\n"


@pytest.mark.parametrize("seed", sorted((CORPUS / "image_file").iterdir()), ids=lambda path: path.name)
def test_images_are_of_the_version_of_today(seed: Path) -> None:
    """One of another version is refused at the first look, and tries nothing."""
    version = int.from_bytes(seed.read_bytes()[4:8], "little")
    assert (version == lib.FP_ABI_VERSION) is (seed.name != "other-version")


def test_requests_have_the_sizes_of_today() -> None:
    """In front of a message stand who asks, its kind and its size: see tests/fuzz/control.c."""
    size = int(ffi.sizeof("struct fp_ask_configure"))
    twice = (CORPUS / "control" / "configured-again").read_bytes()
    assert twice.count(bytes((lib.FP_CONFIGURE, size, 0, 0))) == 3, "a new field belongs into the seed as well"
