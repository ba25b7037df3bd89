"""The page brings everything along, and has no way to make markup out of a value."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tidegate.observe.dashboard.assets import assets

ASSETS = {path: asset.body.decode() for path, asset in assets().items()}
SCRIPTS = {path: text for path, text in ASSETS.items() if path.endswith(".js")}
# Everything by which a string can become markup or code in a browser, and the ways to send something.
SINKS = (
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\.write|setHTML|srcdoc|\beval\b"
    r"|\bFunction\(|set(?:Timeout|Interval)\(\s*[\"'`]|javascript:|\.style\b|method:\s|XMLHttpRequest|sendBeacon|WebSocket"
    r"|localStorage|document\.cookie"
)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(ASSETS["/"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_every_file_that_is_named_is_there_and_of_our_own() -> None:
    named = {a[key] for _, a in Page().tags for key in ("src", "href") if key in a and not str(a[key]).startswith("#")}
    named |= {f"/dashboard/{name}" for text in SCRIPTS.values() for name in re.findall(r'from "\./(.*?)"', text)}
    assert named == ASSETS.keys() - {"/"}


def test_nothing_is_inline() -> None:
    for tag, attributes in Page().tags:
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("path", ASSETS)
def test_nothing_comes_from_elsewhere(path: str) -> None:
    links = set(re.findall(r"(?:https?:)?//[\w.-]+", re.sub(r"(?m)^\s*//.*$", "", ASSETS[path])))
    assert links <= {"http://www.w3.org"}, "only the name of SVG's namespace"
    assert "@import" not in ASSETS[path]
    assert "url(" not in ASSETS[path]


@pytest.mark.parametrize("path", SCRIPTS)
def test_no_script_makes_markup_or_code_of_a_string(path: str) -> None:
    assert not re.findall(SINKS, SCRIPTS[path])


def test_attributes_of_built_elements_are_no_handlers_or_addresses() -> None:
    for text in SCRIPTS.values():
        assert not re.findall(r"[{,]\s*[\"']?(?:on\w+|href|src|action|formaction)[\"']?\s*:", text)


@pytest.mark.parametrize("section", ["traffic", "http", "pods", "services", "verdicts", "explain", "node-state"])
def test_each_section_is_linked_and_named(section: str) -> None:
    tags = Page().tags
    assert ("a", {"href": f"#{section}"}) in tags
    ids = {a.get("id") for _, a in tags}
    named = next(a["aria-labelledby"] for tag, a in tags if tag == "section" and a.get("id") == section)
    assert named in ids


def test_scripts_look_for_elements_that_exist() -> None:
    wanted = {name for text in SCRIPTS.values() for name in re.findall(r'\bby\("([\w-]+)"\)', text)}
    assert wanted <= {a.get("id") for _, a in Page().tags}
