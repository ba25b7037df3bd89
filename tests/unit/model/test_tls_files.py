"""Files that rules name: each namespace has its own, whoever writes the rule."""

from __future__ import annotations

import pytest

from tidegate.model.tls_files import node_path


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/etc/certs/ca.pem", "/etc/tidegate/tls/shop/etc/certs/ca.pem"),
        ("ca.pem", "/etc/tidegate/tls/shop/ca.pem"),
        ("//ca.pem", "/etc/tidegate/tls/shop/ca.pem"),
        ("/etc/./certs//..pem", "/etc/tidegate/tls/shop/etc/certs/..pem"),
    ],
)
def test_a_path_begins_in_the_folder_of_the_rules_namespace(path: str, file: str) -> None:
    assert node_path(path, "shop") == file


@pytest.mark.parametrize("path", ["", "..", "/../other/key.pem", "a/../../other/key.pem", "a/..", "a\0b"])
def test_a_path_that_may_lead_out_is_none(path: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        node_path(path, "shop")
