"""reviews: what people wrote. GET /reviews/ID. v1 shows no stars, v2 black ones, v3 red ones.

v2 and v3 ask the ratings service (RATINGS_URL). If it does not answer within RATINGS_TIMEOUT seconds the texts are
delivered all the same, with the reason why there are no stars.
"""

from __future__ import annotations

import os

from service import Request, Response, Service, json_response, pod_name
from upstream import Upstream, UpstreamError, passed_on

VERSION = os.environ.get("SERVICE_VERSION", "v1")
COLOUR = {"v1": "", "v2": "black", "v3": "red"}.get(VERSION, "black")
TEXTS = (
    (
        "Reviewer1",
        "Two pairs of twins, one afternoon, and nobody asks the obvious question. I laughed on the tram and missed my "
        "stop twice, which seems about right for this play.",
    ),
    (
        "Reviewer2",
        "The plot is a machine with very few parts, and every part squeaks on purpose. Not the deepest of the "
        "comedies; quite possibly the fastest.",
    ),
)
ratings = Upstream(
    "ratings",
    os.environ.get("RATINGS_URL", "http://ratings:9080"),
    timeout=float(os.environ.get("RATINGS_TIMEOUT", "2.5")),
)


def handle(request: Request) -> Response:
    """The reviews of one product, with stars if this version knows any."""
    room, _, number = request.path.strip("/").partition("/")
    if room != "reviews" or not number.isdigit():
        return json_response({"error": "try /reviews/0"}, 404)
    reviews: list[dict[str, object]] = [{"reviewer": who, "text": text} for who, text in TEXTS]
    body: dict[str, object] = {"id": int(number), "podname": pod_name(), "version": VERSION, "reviews": reviews}
    if COLOUR:
        try:
            reply = ratings.get(f"/ratings/{number}", passed_on(request))
            given = dict(reply.value["ratings"])
            body["ratings_from"] = {"podname": reply.value.get("podname", ""), "ms": round(reply.milliseconds, 1)}
            for review in reviews:
                review["rating"] = {"stars": given.get(str(review["reviewer"]), 0), "color": COLOUR}
        except (UpstreamError, KeyError, TypeError, ValueError) as error:
            body["ratings_error"] = f"ratings {error}"
            for review in reviews:
                review["rating"] = {"error": "Ratings service is currently unavailable"}
    return json_response(body)


if __name__ == "__main__":
    Service(f"reviews-{VERSION}", handle, int(os.environ.get("PORT", "9080"))).run()
