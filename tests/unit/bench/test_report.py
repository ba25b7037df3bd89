"""Which figures are measured, and where they go."""

from __future__ import annotations

import pytest
from tests.bench.report import chosen

GROUPS = ["network", "promises", "scale.1k", "scale.10k", "scale.smoke", "scale.kube"]


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ([], ["network", "promises", "scale.1k", "scale.10k"]),
        (["scale"], ["scale.1k", "scale.10k"]),
        (["scale.kube"], ["scale.kube"]),
        (["scale.kube.sync_s"], ["scale.kube"]),
        (["scale.smoke", "l4"], ["network", "scale.smoke"]),
        (["recover", "scale.10k.cold_s"], ["promises", "scale.10k"]),
    ],
)
def test_what_is_named_is_measured_and_what_is_special_only_then(only: list[str], wanted: list[str]) -> None:
    assert chosen(only, GROUPS) == wanted


def test_a_figure_that_nobody_has_is_named() -> None:
    with pytest.raises(ValueError, match=r"no figure begins with scale\.2k"):
        chosen(["scale.2k"], GROUPS)
