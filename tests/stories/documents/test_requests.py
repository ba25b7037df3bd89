"""Documents that say what becomes of a request: who may ask across origins, faults, conditions, redirects, retries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.support.chance import binomial
from tests.support.eventually import eventually
from tests.support.inside import Client, Reply, finished, statuses, versions
from tests.support.lab import Lab

if TYPE_CHECKING:
    from tests.stories.documents.conftest import Given

RATINGS = "http://ratings.prod:9080"
REVIEWS = "http://reviews.prod:9080"
# The subset that most of these documents lead to.
V1 = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: versions-of-{name}}}
spec: {{host: {name}.prod.svc.cluster.local, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
"""
RATINGS_V1, REVIEWS_V1 = V1.format(name="ratings"), V1.format(name="reviews")
DAY = 24 * 60 * 60


@pytest.mark.document("04-virtualservice-ratings-route")
@pytest.mark.api(
    *("HTTPRoute.corsPolicy", "CorsPolicy.allowOrigin", "CorsPolicy.allowMethods", "CorsPolicy.allowHeaders"),
    *("CorsPolicy.maxAge", "CorsPolicy.allowCredentials"),
)
def test_pages_of_one_origin_may_ask(given: Given, client: Client) -> None:
    given(RATINGS_V1, "04-virtualservice-ratings-route")
    preflight = ("-X", "OPTIONS", "-H", "Access-Control-Request-Method: POST")
    told = client.get(f"{RATINGS}/1", *preflight, "-H", "Origin: example.com")
    assert told.status == 200
    assert {name: value for name, value in told.headers.items() if name.startswith("access-control")} == {
        "access-control-allow-origin": "example.com",
        "access-control-allow-methods": "POST,GET",
        "access-control-allow-headers": "X-Foo-Bar",
        "access-control-max-age": str(DAY),
    }
    asked = client.get(f"{RATINGS}/1", "-H", "Origin: example.com")
    assert (asked.json["version"], asked.headers["access-control-allow-origin"]) == ("v1", "example.com")
    for origin in ("example.org", "www.example.com"):
        other = client.get(f"{RATINGS}/1", "-H", f"Origin: {origin}")
        assert (other.json["version"], [n for n in other.headers if n.startswith("access-control")]) == ("v1", [])


@pytest.mark.document("20-virtualservice-ratings-route")
@pytest.mark.api(
    *("HTTPRoute.fault", "HTTPFaultInjection.abort"),
    *("HTTPFaultInjection.Abort.percent", "HTTPFaultInjection.Abort.httpStatus"),
)
def test_a_tenth_of_the_requests_is_answered_with_400(given: Given, client: Client) -> None:
    given(RATINGS_V1, "20-virtualservice-ratings-route")
    found = client.each(f"{RATINGS}/", 600)
    assert statuses(found).keys() == {200, 400}
    assert statuses(found)[400] in binomial(600, 0.1)
    assert versions(found).keys() == {"v1", ""}


@pytest.mark.document("21-virtualservice-reviews-route")
@pytest.mark.api(
    *("HTTPFaultInjection.delay", "HTTPFaultInjection.Delay.percent", "HTTPFaultInjection.Delay.fixedDelay"),
    "HTTPMatchRequest.sourceLabels",
)
def test_a_tenth_of_what_pods_of_prod_ask_comes_five_seconds_later(
    given: Given, lab: Lab, client: Client, tmp_path: Path
) -> None:
    given(REVIEWS_V1, "21-virtualservice-reviews-route")

    def late(who: Client) -> int:
        found = finished(who.start(f"{REVIEWS}/", 100, tmp_path))
        assert statuses(found) == {200: 100}
        assert versions(found).keys() == ({"v1"} if who.pod == "client-of-prod" else {"v1", "v2"})
        return sum(reply.seconds >= 5 for reply in found)

    # A machine that stands still for five seconds makes more of them late, and that not again and again.
    likely = binomial(100, 0.1, 1e-4)
    eventually(lambda: late(Client(lab, "client-of-prod")) in likely, "a tenth is late")
    eventually(lambda: late(client) == 0, "nobody else has to wait")


@pytest.mark.document("22-virtualservice-ratings-route")
@pytest.mark.api("HTTPMatchRequest.headers", "HTTPMatchRequest.uri", "StringMatch.extract", "StringMatch.prefix")
def test_jason_reaches_the_new_ratings_and_nobody_else_reaches_any(given: Given, client: Client) -> None:
    given("22-virtualservice-ratings-route")
    asked = [("/ratings/v2/7", "jason")]
    asked += [("/ratings/v2/7", "Jason"), ("/ratings/v2/7", ""), ("/ratings/v2", "jason"), ("/", "jason")]
    new, *others = client.every(*((f"{RATINGS}{path}", "-H", f"end-user: {user}") for path, user in asked))
    assert (new.status, new.json["path"]) == (200, "/ratings/v2/7")
    assert statuses(others) == {404: 4}


@pytest.mark.document("23-virtualservice-ratings-route")
@pytest.mark.api("HTTPRoute.redirect", "HTTPRedirect.uri", "HTTPRedirect.authority")
def test_the_one_that_is_no_yaml_is_told_with_its_line_and_hinders_no_other(
    given: Given, lab: Lab, client: Client
) -> None:
    """What it would say, with its indentation put right and without its last line, sends clients elsewhere."""
    name = "23-virtualservice-ratings-route"
    text = (DOCUMENTS / f"{name}.yaml").read_text()
    old = f"{RATINGS}/v1/getProductRatings"
    refused = lab.apply(DOCUMENTS / f"{name}.yaml", check=False)
    assert (refused.returncode != 0, f"{name}.yaml:15" in refused.stderr) == (True, True), refused.stderr
    beside = lab.run_dir / "cluster" / f"{name}.yaml"  # where the agent reads: as a user's directory has it
    beside.write_text(text)
    try:
        given(RATINGS_V1, "25-virtualservice-ratings-route")
        told = [p for p in lab.status()["config"]["problems"] if p["code"] == "TG0108"]
        assert [(p["line"], Path(p["file"]).name) for p in told] == [(15, beside.name)]
        assert client.get(f"{RATINGS}/ratings/7").json["path"] == "/v1/bookRatings/7"
        assert client.get(old).status == 404
    finally:
        beside.unlink()
    given(
        text.replace("  redirect:\n    uri", "    redirect:\n      uri")
        .replace("    auth", "      auth")
        .replace("..", "")
    )
    sent = client.get(old)
    there = "http://newratings.default.svc.cluster.local/v1/bookRatings"
    assert (sent.status, sent.headers["location"]) == (301, there)
    assert client.get(f"{old}/more").status == 404


@pytest.mark.document("24-virtualservice-ratings-route")
@pytest.mark.api("HTTPRoute.retries", "HTTPRetry.attempts", "HTTPRetry.perTryTimeout")
def test_what_fails_is_tried_three_times_more_and_each_try_has_two_seconds(
    given: Given, client: Client, tmp_path: Path
) -> None:
    """What counts as failed is what today's Istio counts: a server that is unavailable, not one that is slow."""
    given(RATINGS_V1, "24-virtualservice-ratings-route")

    def ask(query: str) -> Reply:
        (reply,) = client.each(f"{RATINGS}/?{query}&key={tmp_path.name}-{query.partition('=')[0]}", 1)
        return reply

    assert ask("unavailable=3").json["tries"] == 4
    gone = ask("unavailable=99&x=")
    assert gone.json["tries"] == 8, "the one before, and four more"
    there = tmp_path / "there"
    slow = ask(f"held={there}")
    there.touch()
    assert (slow.status, slow.seconds >= 2) == (504, True)
    assert ask(f"held={there}").json["tries"] == 2, "the slow one was not asked again"


@pytest.mark.usefixtures("in_a_mesh_of_the_old_api")
@pytest.mark.document("24-virtualservice-ratings-route")
def test_in_a_mesh_of_the_old_api_a_try_that_took_too_long_is_followed_by_another(
    given: Given, client: Client, tmp_path: Path
) -> None:
    given(RATINGS_V1, "24-virtualservice-ratings-route")
    there = tmp_path / "there"
    (reply,) = client.each(f"{RATINGS}/?held={there}&first=1&key={tmp_path.name}", 1)
    there.touch()
    assert (reply.status, reply.json["tries"], reply.seconds >= 2) == (200, 2, True)
    assert client.get(f"{RATINGS}/?fail=3&key={tmp_path.name}-b").json["tries"] == 4, "any answer of 5xx is a failure"


@pytest.mark.document("25-virtualservice-ratings-route")
@pytest.mark.api("HTTPRoute.rewrite", "HTTPRewrite.uri")
def test_the_beginning_of_a_path_is_rewritten(given: Given, client: Client) -> None:
    given(RATINGS_V1, "25-virtualservice-ratings-route")
    paths = ("/ratings", "/ratings/7?a=b", "/other")
    *found, other = client.every(*((f"{RATINGS}{path}",) for path in paths))
    seen = [(reply.json["version"], reply.json["path"]) for reply in found]
    assert seen == [("v1", "/v1/bookRatings"), ("v1", "/v1/bookRatings/7?a=b")]
    assert other.status == 404
