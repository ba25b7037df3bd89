"""Our entry in a CNI network configuration, as an edit of its text. Pure.

Only the bytes of our entry and of the comma before it come and go: order, unknown fields, numbers and layout of the
primary CNI's configuration stay as they were written, and taking the entry out again gives back the same bytes.
Nothing is remembered elsewhere: the entry is recognised by its type, a list that was made of a plain configuration by
its wrapping (CNI specification 1.0.0, section 1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import Rejected

TYPE = "tidegate"  # the plugin's type is the name of its binary

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_OLD = re.compile(r"0\.[12]\.")  # no prevResult yet, so no chain
_END = "\n]}\n"


@dataclass(frozen=True, slots=True)
class Conflist:
    """A network configuration list: its text and where in it each plugin stands (start, end)."""

    text: str
    name: str
    plugins: tuple[Mapping[str, Any], ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def ours(self) -> tuple[int, ...]:
        """Positions of our entries among the plugins."""
        return tuple(n for n, plugin in enumerate(self.plugins) if plugin["type"] == TYPE)


def parse(text: str, file: Path) -> Conflist:
    """Read a conflist. Raises Rejected with file and line if it is none."""
    value = _object(text, file)
    plugins = value.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise Rejected(f"{file}", "has no plugins", "it must be a CNI network configuration list")
    spans = _plugin_spans(text)
    for plugin, (start, _) in zip(plugins, spans, strict=True):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str):
            raise Rejected(f"{file}:{_line(text, start)}", "is a plugin without a type", "name its binary in `type`")
    _check_version(value, file)
    return Conflist(text, str(value.get("name", "")), tuple(plugins), tuple(spans))


def problem(conflist: Conflist, socket: str) -> str:
    """What is wrong with our place in the list; empty when it is as add() leaves it."""
    if not conflist.ours:
        return f"plugin {TYPE} is not in the chain"
    if len(conflist.ours) > 1:
        return f"plugin {TYPE} is in the chain {len(conflist.ours)} times"
    (at,) = conflist.ours
    if at == 0:
        return f"plugin {TYPE} comes first, before the plugin that makes the pod's interface"
    found = conflist.plugins[at].get("agentSocket")
    return "" if found == socket else f"plugin {TYPE} calls the agent at {found}, which listens at {socket}"


def add(conflist: Conflist, socket: str, file: Path) -> str:
    """The text with our entry, once, behind the others. The same text if it is right already."""
    if not problem(conflist, socket):
        return conflist.text
    old = conflist.plugins[conflist.ours[0]] if conflist.ours else {}
    entry = json.dumps({"type": TYPE, **old, "agentSocket": socket})
    bare = parse(remove(conflist, file), file)
    text, end = bare.text, bare.spans[-1][1]
    gap = text[text.rindex("[", 0, bare.spans[0][0]) + 1 : bare.spans[0][0]]
    return f"{text[:end]},{gap or ' '}{entry}{text[end:]}"


def remove(conflist: Conflist, file: Path) -> str:
    """The text without any entry of ours; the same text if there is none. Raises Rejected if nothing else is there."""
    if len(conflist.ours) == len(conflist.plugins):
        raise Rejected(f"{file}", f"has no plugin besides {TYPE}", "remove the file, or let the primary CNI write it")
    text, spans = conflist.text, conflist.spans
    for at in reversed(conflist.ours):
        others_before = [n for n in range(at) if n not in conflist.ours]
        start, end = (spans[at - 1][1], spans[at][1]) if others_before else (spans[at][0], spans[at + 1][0])
        text = text[:start] + text[end:]
    return text


def wrap(text: str, file: Path) -> str:
    """The list that consists of one plain configuration, whose text it holds as it is. Raises Rejected."""
    value = _object(text, file)
    if not isinstance(value.get("type"), str):
        raise Rejected(f"{file}", "is no CNI network configuration: it has no `type`")
    _check_version(value, file)
    return _head(value) + text + _END


def unwrap(text: str, file: Path) -> str | None:
    """The plain configuration that wrap() made this text of; None if it was not made so or changed since."""
    conflist = parse(text, file)
    if len(conflist.plugins) != 1:
        return None
    head = _head(conflist.plugins[0])
    if not (text.startswith(head) and text.endswith(_END)):
        return None
    return text[len(head) : -len(_END)]


def _head(value: Mapping[str, Any]) -> str:
    version, name = json.dumps(value.get("cniVersion")), json.dumps(value.get("name", ""))
    return f'{{"cniVersion": {version}, "name": {name}, "plugins": [\n'


def _object(text: str, file: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Rejected(f"{file}:{error.lineno}", f"is not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise Rejected(f"{file}", "is nested too deeply") from None
    if not isinstance(value, dict):
        raise Rejected(f"{file}:1", "is no JSON object")
    return value


def _check_version(value: Mapping[str, Any], file: Path) -> None:
    version = value.get("cniVersion")
    if not isinstance(version, str) or _OLD.match(version):
        raise Rejected(f"{file}", f"has cniVersion {version!r}", "plugins can be chained from 0.3.0 on")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _plugin_spans(text: str) -> list[tuple[int, int]]:
    """Where the elements of the last member `plugins` stand. The text is known to be a JSON object."""
    spans: list[tuple[int, int]] = []
    at = _skip(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if key == "plugins" and text[at] == "[":
            spans, at = _elements(text, at)
        else:
            _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans


def _elements(text: str, at: int) -> tuple[list[tuple[int, int]], int]:
    spans: list[tuple[int, int]] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        spans.append((at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans, at + 1
