"""The looks of productpage: fills page.html from what the services answered. Everything from outside is escaped."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from upstream import Reply, UpstreamError

TITLE = "The Comedy of Errors"
AUTHOR = "William Shakespeare"
STARS = 5
TEMPLATE = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
FACTS = ("type", "pages", "publisher", "language", "year", "ISBN-10", "ISBN-13")
LOOKS = {"v1": "no stars", "v2": "black stars", "v3": "red stars"}


def render(
    *, details: Reply | UpstreamError, reviews: Reply | UpstreamError, user: str, request_id: str, served_by: str
) -> str:
    """The whole page as HTML."""
    version = str(reviews.value.get("version", "?")) if isinstance(reviews, Reply) else ""
    return TEMPLATE.substitute(
        title=escape(TITLE),
        author=escape(AUTHOR),
        account=account(user),
        facts=facts(details),
        version=escape(version),
        reviews=review_cards(reviews),
        verdict=verdict(reviews, version),
        path=path(details, reviews, version),
        request_id=escape(request_id),
        served_by=escape(served_by),
    )


def account(user: str) -> str:
    """The sign-in form, or who is signed in."""
    if user:
        return (
            f'<span class="who"><span class="avatar" aria-hidden="true">{escape(user[0].upper())}</span>'
            f'<b>{escape(user)}</b></span><a class="button quiet" href="/logout">Sign out</a>'
        )
    return (
        '<form class="signin" method="post" action="/login"><label class="hide" for="username">User name</label>'
        '<input id="username" name="username" placeholder="User name, e.g. jason" required maxlength="64" '
        'autocomplete="off" spellcheck="false"><button class="button">Sign in</button></form>'
    )


def notice(title: str, reason: object) -> str:
    """A part of the page that could not be had, and why."""
    return f'<div class="notice" role="alert"><b>{escape(title)}</b><span>{escape(str(reason))}</span></div>'


def facts(details: Reply | UpstreamError) -> str:
    """The facts about the book."""
    if isinstance(details, UpstreamError):
        return notice("Details are unavailable just now", f"details {details}")
    rows = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(details.value[name]))}</dd></div>"
        for name in FACTS
        if name in details.value
    ]
    return f'<dl class="facts">{"".join(rows)}</dl>'


def stars(count: int, colour: str) -> str:
    """A row of stars, readable without seeing them."""
    full = max(0, min(STARS, count))
    drawn = "".join(f'<i class="{"on" if n < full else "off"}">★</i>' for n in range(STARS))
    name = "red" if colour == "red" else "black"
    return f'<span class="stars {name}" role="img" aria-label="{full} of {STARS} {name} stars">{drawn}</span>'


def review_cards(reviews: Reply | UpstreamError) -> str:
    """One card per review, with stars if the version that answered knows any."""
    if isinstance(reviews, UpstreamError):
        return notice("Reviews are unavailable just now", f"reviews {reviews}")
    cards = []
    for review in reviews.value.get("reviews", ()):
        rating: dict[str, Any] = review.get("rating") or {}
        mark = stars(int(rating["stars"]), str(rating.get("color"))) if "stars" in rating else ""
        cards.append(
            f'<blockquote class="review">{mark}<p>{escape(str(review.get("text", "")))}</p>'
            f"<footer>{escape(str(review.get('reviewer', '')))}</footer></blockquote>"
        )
    error = reviews.value.get("ratings_error")
    return (notice("Ratings are unavailable just now", error) if error else "") + "".join(cards)


def verdict(reviews: Reply | UpstreamError, version: str) -> str:
    """Which reviews version and which pod answered."""
    if isinstance(reviews, UpstreamError):
        return '<span class="tag none">no version answered</span>'
    pod = escape(str(reviews.value.get("podname", "?")))
    tag = f'<span class="tag {escape(version)}">reviews {escape(version)}</span>'
    return f'{tag}<span class="pod">{LOOKS.get(version, "")} · {pod}</span>'


def path(details: Reply | UpstreamError, reviews: Reply | UpstreamError, version: str) -> str:
    """The calls behind this page, in the order in which they were made."""
    rows = [hop("details", details, ""), hop(f"reviews {version}".strip(), reviews, version)]
    if isinstance(reviews, Reply):
        asked = reviews.value.get("ratings_from")
        if asked:
            rows.append(row("ratings", str(asked.get("podname", "")), f"{asked.get('ms', '?')} ms", "deep"))
        elif "ratings_error" in reviews.value:
            rows.append(row("ratings", str(reviews.value["ratings_error"]), "failed", "deep bad"))
    return "".join(rows)


def hop(name: str, reply: Reply | UpstreamError, version: str) -> str:
    """One call by the page."""
    if isinstance(reply, UpstreamError):
        return row(name, str(reply), "failed", "bad")
    return row(name, str(reply.value.get("podname", "")), f"{reply.milliseconds:.1f} ms", version)


def row(name: str, note: str, took: str, kind: str) -> str:
    """One line of the list of calls."""
    return (
        f'<li class="{escape(kind)}"><b>{escape(name)}</b><span class="pod">{escape(note)}</span>'
        f"<em>{escape(took)}</em></li>"
    )
