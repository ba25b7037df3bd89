"""productpage: the page that a person sees, put together from details and reviews.

GET / or /productpage is the page, POST /login and GET /logout set and clear the user, whose name goes to every service
behind in the header `end-user`. The same data as JSON: /api/v1/products, /api/v1/products/ID, .../reviews, .../ratings.
"""

from __future__ import annotations

import os
import re
import uuid
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import page
from service import Request, Response, Service, json_response, pod_name
from upstream import Reply, Upstream, UpstreamError, passed_on

VERSION = os.environ.get("SERVICE_VERSION", "v1")
COOKIE = "bookinfo-user"
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PRODUCTS = ({"id": 0, "title": page.TITLE, "author": page.AUTHOR},)


def upstream(name: str, seconds: str) -> Upstream:
    """The service `name`, found by its Service name unless NAME_URL says otherwise; NAME_TIMEOUT is in seconds."""
    prefix = name.upper()
    url = os.environ.get(f"{prefix}_URL", f"http://{name}:9080")
    return Upstream(name, url, timeout=float(os.environ.get(f"{prefix}_TIMEOUT", seconds)))


details, reviews, ratings = upstream("details", "3"), upstream("reviews", "6"), upstream("ratings", "3")


def handle(request: Request) -> Response:
    """Route one request."""
    match request.method, request.path.rstrip("/"):
        case "GET" | "HEAD", "" | "/productpage" | "/index.html":
            return show(request)
        case "POST", "/login":
            return sign_in(request)
        case "GET" | "POST", "/logout":
            return go_home([("set-cookie", f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")])
        case "GET", "/favicon.ico":
            return Response(204)
        case "GET", "/api/v1/products":
            return json_response(PRODUCTS)
        case "GET", path if found := re.fullmatch(r"/api/v1/products/(\d+)(/reviews|/ratings)?", path):
            service = {None: details, "/reviews": reviews, "/ratings": ratings}[found[2]]
            return api(service, f"/{service.name}/{found[1]}", request)
        case _:
            return json_response({"error": "try /productpage or /api/v1/products"}, 404)


def user_of(request: Request) -> str:
    """Who is signed in: the cookie of the page, else the header that a command-line client set; "" if nobody."""
    try:
        morsel = SimpleCookie(request.header("cookie")).get(COOKIE)
    except CookieError:
        morsel = None
    name = morsel.value if morsel else request.header("end-user")
    return name if USER.fullmatch(name) else ""


def onward(request: Request) -> dict[str, str]:
    """Headers for the calls behind. The page is the first service of a user request, so it names it if nobody did."""
    headers = passed_on(request)
    headers.setdefault("x-request-id", str(uuid.uuid4()))
    headers.pop("end-user", None)
    if user := user_of(request):
        headers["end-user"] = user
    return headers


def show(request: Request) -> Response:
    """The page. A service that does not answer costs its part of the page, never the page."""
    headers = onward(request)
    parts: list[Reply | UpstreamError] = []
    for service in (details, reviews):
        try:
            parts.append(service.get(f"/{service.name}/0", headers))
        except UpstreamError as error:
            parts.append(error)
    body = page.render(
        details=parts[0],
        reviews=parts[1],
        user=user_of(request),
        request_id=headers["x-request-id"],
        served_by=f"{pod_name()} ({VERSION})",
    )
    return Response(200, body.encode(), "text/html; charset=utf-8", [("cache-control", "no-store")])


def api(service: Upstream, path: str, request: Request) -> Response:
    """Pass the answer of a service behind on; 503 with the reason if there is none."""
    try:
        reply = service.get(path, onward(request))
    except UpstreamError as error:
        return json_response({"error": f"{service.name}: {error}"}, 503)
    return json_response(reply.value, headers=[("cache-control", "no-store")])


def sign_in(request: Request) -> Response:
    """Keep the name in a cookie. There is no password: this is a stage, not a lock."""
    name = parse_qs(request.body.decode("utf-8", "replace")).get("username", [""])[0].strip()
    if not USER.fullmatch(name):
        return json_response({"error": "a name has 1 to 64 letters, digits, dots, dashes, underscores or @"}, 400)
    return go_home([("set-cookie", f"{COOKIE}={name}; Path=/; HttpOnly; SameSite=Lax")])


def go_home(headers: list[tuple[str, str]]) -> Response:
    """See the page again, by GET."""
    return Response(303, headers=[("location", "/productpage"), *headers])


if __name__ == "__main__":
    Service(f"productpage-{VERSION}", handle, int(os.environ.get("PORT", "9080"))).run()
