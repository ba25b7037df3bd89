"""What `make test-kernels` would run: names that exist, and a refusal for those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernels.__main__ import commands, kernels, of, suites
from tests.kernels.debian import KernelError

ROOT = Path(__file__).resolve().parents[3]


def test_every_path_is_there_and_every_suite_is_run_whatever_the_others_say() -> None:
    listed = suites([])
    assert {"bpf", "relay", "tour", "capture", "too-old"} == {suite.name for suite in listed}
    for suite in listed:
        assert all((ROOT / path).exists() for path in suite.paths), suite.name
    text = commands(listed)
    assert all(f"--junit-xml=/run/results/{suite.name}.xml; " in text for suite in listed)
    assert text.endswith("; true")


def test_names_pick_and_unknown_names_are_refused() -> None:
    assert [suite.name for suite in suites(["tour", "bpf"])] == ["bpf", "tour"]
    assert [kernel.name for kernel in kernels(["debian-12"])] == ["debian-12"]
    with pytest.raises(KernelError, match="no such suite: nope; known: bpf"):
        suites(["nope"])
    with pytest.raises(KernelError, match="no such kernel: nope; known: debian-12"):
        kernels(["nope"])


def test_a_kernel_that_is_too_old_runs_its_own_suite_and_nobody_else_does() -> None:
    old, new = kernels(["debian-11"])[0], kernels(["debian-12"])[0]
    assert [suite.name for suite in of(old, suites([]))] == ["too-old"]
    assert [suite.name for suite in of(new, suites([]))] == ["bpf", "relay", "tour", "capture"]
    assert not of(old, suites(["bpf"]))
    for kernel in kernels([]):
        assert set(kernel.suites) <= {suite.name for suite in suites([])}, kernel.name
