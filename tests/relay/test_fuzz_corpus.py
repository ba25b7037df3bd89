"""Every input that the fuzzers of `make fuzz` start from, and every one that once found something, under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.settings import build_root

CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
TARGETS = ["cni_call", "cni_wire", "control", "hello", "image", "image_file", "relay"]


@pytest.mark.parametrize("target", TARGETS)
def test_corpus(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    program = build_root() / "fuzz" / "replay" / target
    ran = subprocess.run([program, *inputs], capture_output=True, check=False, timeout=HANG_SECONDS)
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    assert ran.stdout.decode() == f"{len(inputs)} inputs\n"
