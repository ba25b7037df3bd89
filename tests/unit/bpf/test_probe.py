"""What is said when the kernel is too old; tests/bpf/test_probe.py asks the real one."""

from __future__ import annotations

import os

import pytest

from tidegate.bpf.probe import Feature, require
from tidegate.errors import Fatal

HELPER = Feature("netns cookie in connect", False, True, "bpf_get_netns_cookie, since Linux 5.15")
COMFORT = Feature("errno of refusals", False, False, "refusals are EPERM")


def test_what_is_lacking_is_named_with_the_kernel_and_what_to_do() -> None:
    with pytest.raises(Fatal) as refused:
        require([Feature("sockops", True, True, "program type"), HELPER, COMFORT])
    said = str(refused.value)
    assert f"Linux {os.uname().release}" in said
    assert "netns cookie in connect (bpf_get_netns_cookie, since Linux 5.15)" in said
    assert "5.15 or newer" in said
    assert "sockops" not in said
    assert "refusals" not in said


def test_what_only_makes_it_worse_is_no_reason_to_stop() -> None:
    require([Feature("sockops", True, True, "program type"), COMFORT])
