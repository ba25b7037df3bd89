"""Sample services for the tests of this directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.eventually import HANG_SECONDS
from tests.support.sample_service import Running, Start, launch


@pytest.fixture
def start() -> Iterator[Start]:
    """start("bookinfo/src/reviews.py", SERVICE_VERSION="v2") -> Running; stopped at the end of the test."""
    running: list[Running] = []

    def one(script: str, **env: str) -> Running:
        running.append(launch(script, env))
        return running[-1]

    yield one
    for service in running:
        service.process.kill()
        service.process.communicate(timeout=HANG_SECONDS)


@pytest.fixture
def bookinfo(start: Start) -> Callable[[str], Running]:
    """bookinfo("v2") starts all four services with that version of reviews and returns productpage."""

    def whole(version: str) -> Running:
        details = start("bookinfo/src/details.py", POD_NAME="details-pod")
        ratings = start("bookinfo/src/ratings.py", POD_NAME="ratings-pod")
        reviews = start(
            "bookinfo/src/reviews.py",
            SERVICE_VERSION=version,
            POD_NAME=f"reviews-{version}-pod",
            RATINGS_URL=ratings.url,
        )
        return start(
            "bookinfo/src/productpage.py", DETAILS_URL=details.url, REVIEWS_URL=reviews.url, RATINGS_URL=ratings.url
        )

    return whole
