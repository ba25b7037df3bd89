"""The samples as their README promises: applied in a lab, observed on the wire from another pod."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.chance import binomial
from tests.support.eventually import eventually
from tests.support.lab import ROOT, Lab

SAMPLES = ROOT / "samples"
MANIFESTS = [
    SAMPLES / name
    for name in ("bookinfo/namespace.yaml", "bookinfo/bookinfo.yaml", "httpbin/httpbin.yaml", "sleep/sleep.yaml")
]
NETWORKING = SAMPLES / "bookinfo" / "networking"
REVIEWS, RATINGS = "http://reviews:9080/reviews/0", "http://ratings:9080/ratings/0"
Route = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    assert os.geteuid() == 0, "the lab makes network namespaces: run as root"
    made = Lab("samples")
    try:
        made.up(*MANIFESTS)
        made.apply(NETWORKING / "destination-rules.yaml")
        yield made
    finally:
        made.down()


@pytest.fixture
def route(lab: Lab) -> Route:
    """`with route(FILE):` applies a sample route and takes it away again."""

    @contextmanager
    def applied(file: Path) -> Iterator[None]:
        lab.apply(file)
        try:
            yield
        finally:
            lab.delete(file)

    return applied


def ask(lab: Lab, url: str, *options: str) -> dict[str, Any]:
    return lab.ask("deploy/sleep", url, *options)


def versions(lab: Lab, count: int, *options: str) -> Counter[str]:
    answer = ask(lab, REVIEWS, "--count", str(count), *options)
    assert answer["failed"] == 0, answer["failures"]
    return Counter(answer["versions"])


def test_without_a_route_all_versions_answer(lab: Lab) -> None:
    assert set(versions(lab, 60)) == {"v1", "v2", "v3"}


def test_the_page_comes_together_through_the_mesh(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "reviews-v3.yaml"):
        # The page gives what is behind it a few seconds, which a busy machine may need for itself.
        def page() -> dict[str, Any]:
            answer = ask(lab, "http://productpage:9080/productpage")
            return {} if "unavailable" in answer["body"] else answer

        answer = eventually(page, "a page of which nothing is missing")
    assert answer["status"] == 200
    assert 'data-reviews-version="v3"' in answer["body"]
    assert 'aria-label="5 of 5 red stars"' in answer["body"]
    assert "PublisherA" in answer["body"]


def test_75_25(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "reviews-75-25.yaml"):
        seen = versions(lab, 6000)
    assert set(seen) == {"v1", "v2"}
    assert seen["v2"] in binomial(6000, 0.25)


def test_jason_sees_v2_and_the_header_travels_through_productpage(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "reviews-jason.yaml"):
        assert versions(lab, 50, "-H", "end-user: jason") == {"v2": 50}
        assert versions(lab, 50, "-H", "end-user: jasonx") == {"v1": 50}
        whole_page(lab, 'data-reviews-version="v2"')


def test_match_by_query_cookie_and_authority(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "reviews-match.yaml"):
        assert ask(lab, REVIEWS + "?beta=yes")["body"]["version"] == "v3"
        assert ask(lab, REVIEWS + "?beta=yes", "-X", "POST")["body"]["version"] == "v1"
        assert ask(lab, REVIEWS, "-H", "Host: beta.example")["body"]["version"] == "v3"
        assert ask(lab, REVIEWS, "-H", "cookie: a=b; user=dev-123")["body"]["version"] == "v2"
        assert ask(lab, REVIEWS, "-H", "cookie: user=dev-")["body"]["version"] == "v1"


def test_header_operations(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "reviews-headers.yaml"):
        for _ in range(10):
            answer = ask(lab, REVIEWS)
            assert answer["headers"]["x-route"] == answer["body"]["version"]
            assert "x-served-by" not in answer["headers"]
    with route(SAMPLES / "httpbin/networking/headers.yaml"):
        sent = ("-H", "x-secret: s", "-H", "x-mesh: me", "-H", "x-added: 0")
        answer = ask(lab, "http://httpbin:8000/headers", *sent)
        received = answer["body"]["headers"]
        assert answer["headers"]["x-answered-by"] == "httpbin-route"
        assert (received["X-Mesh"], received["X-Added"].replace(" ", "")) == ("tidegate", "0,1")
        assert "X-Secret" not in received


def test_redirect(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-redirect.yaml"):
        answer = ask(lab, "http://ratings:9080/v1/getProductRatings")
        assert answer["status"] == 301
        target = "http://ratings.default.svc.cluster.local:9080/v1/bookRatings"
        assert answer["headers"]["location"] == target
        assert ask(lab, target)["body"]["path"] == "/v1/bookRatings"


def test_rewrite(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-rewrite.yaml"):
        assert ask(lab, RATINGS)["body"]["path"] == "/v1/bookRatings/0"
    assert ask(lab, RATINGS)["body"]["path"] == "/ratings/0"


def test_timeout(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-timeout.yaml"):
        answer = ask(lab, RATINGS + "?delay=50")
        assert answer["status"] == 504
        assert answer["seconds"] >= 0.25
        eventually(lambda: ask(lab, RATINGS)["status"] == 200, "an answer within half a second")
    with route(SAMPLES / "httpbin/networking/timeout.yaml"):
        assert ask(lab, "http://httpbin:8000/delay/9")["status"] == 504
        eventually(lambda: ask(lab, "http://httpbin:8000/delay/3")["status"] == 200, "an answer within five seconds")


def test_retries(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-retries.yaml"):
        # A try that a busy machine makes last longer than its two seconds is one more.
        eventually(lambda: outcome(lab, RATINGS + "?fail=2") == (200, 3), "two failures are tried again")
        assert ask(lab, RATINGS + "?fail=4")["status"] == 503
    with route(SAMPLES / "httpbin/networking/retries.yaml"):
        eventually(
            lambda: outcome(lab, "http://httpbin:8000/flaky?fail=4") == (200, 5), "four failures are tried again"
        )


def outcome(lab: Lab, url: str) -> tuple[int, int]:
    """Status and number of the attempt that was answered."""
    answer = ask(lab, url)
    return answer["status"], answer["body"].get("attempt", 0) if isinstance(answer["body"], dict) else 0


def test_fault_delay_costs_jason_his_stars(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-delay.yaml"):
        answer = ask(lab, RATINGS, "-H", "end-user: jason")
        assert answer["status"] == 200
        assert answer["seconds"] >= 2
        eventually(lambda: ask(lab, RATINGS)["seconds"] < 3.9, "nobody else waits")
        with route(NETWORKING / "reviews-v3.yaml"):
            whole_page(lab, "Ratings are unavailable just now")


def whole_page(lab: Lab, wanted: str) -> None:
    """Jason's page has this. It gives what is behind it a few seconds, which a busy machine may need for itself."""

    def page() -> bool:
        return wanted in ask(lab, "http://productpage:9080/productpage", "-H", "cookie: bookinfo-user=jason")["body"]

    eventually(page, f"a page with {wanted}")


def test_fault_abort(lab: Lab, route: Route) -> None:
    with route(NETWORKING / "ratings-abort.yaml"):
        answer = ask(lab, RATINGS, "-H", "end-user: jason")
        assert (answer["status"], answer["body"]) == (500, "fault filter abort")
        others = ask(lab, RATINGS, "--count", "500")["statuses"]
    assert set(others) == {"200", "400"}
    assert others["400"] in binomial(500, 0.1)
