"""Which unix sockets rules may lead to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import Rejected
from tidegate.model.sockets import allow_unix_endpoints, unix_endpoint_allowed


@pytest.fixture(autouse=True)
def none_afterwards() -> Iterator[None]:
    yield
    allow_unix_endpoints(None)


def test_none_is_allowed_unless_somebody_says_so() -> None:
    assert not unix_endpoint_allowed("/run/sockets/a")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/run/sockets/a", True),
        ("/run/sockets/deep/a", True),
        ("/run/sockets", False),
        ("/run/sockets-of-others/a", False),
        ("/run/sockets/../tidegate/agent.sock", False),
        ("/run/tidegate/agent.sock", False),
        ("@abstract", False),
    ],
)
def test_those_below_the_directory_are_allowed(path: str, allowed: bool) -> None:
    allow_unix_endpoints(Path("/run/sockets"))
    assert unix_endpoint_allowed(path) is allowed


@pytest.mark.parametrize("path", ["/", "relative", "/run/../etc"])
def test_a_directory_that_is_none_of_its_own_is_refused(path: str) -> None:
    with pytest.raises(Rejected, match="--unix-endpoints"):
        allow_unix_endpoints(Path(path))
