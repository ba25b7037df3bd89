from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidegate.enroll import conflist
from tidegate.errors import Rejected

FILE = Path("/etc/cni/net.d/10-net.conflist")
SOCKET = "/run/tidegate/cni.sock"
PRIMARY = '{"type": "bridge", "mtu": 1.50e3, "vendor": {"z": [1, {"plugins": []}], "a": null}}'
LISTS = [
    f'{{"cniVersion": "1.0.0", "name": "net", "plugins": [{PRIMARY}]}}',
    f'{{\n\t"plugins" : [\n\t\t{PRIMARY},\n\t\t{{"type":"portmap"}}\n\t],\n\t"name":"net","cniVersion":"0.4.0"}}\n\n',
    f'{{"plugins": "not this one", "cniVersion": "1.0.0", "name": "a]}}", "plugins": [ {PRIMARY} ] , "x": [{{}}]}}\r\n',
]
PLAIN = '\n{\n  "cniVersion": "0.3.1", "name": "dbnet",\n  "type": "bridge", "later": 1e2\n}\n'


def parsed(text: str) -> conflist.Conflist:
    return conflist.parse(text, FILE)


@pytest.mark.parametrize("text", LISTS)
def test_the_entry_goes_behind_the_others_and_out_again_without_a_trace(text: str) -> None:
    chained = conflist.add(parsed(text), SOCKET, FILE)
    assert json.loads(chained)["plugins"] == [
        *json.loads(text)["plugins"],
        {"type": "tidegate", "agentSocket": SOCKET},
    ]
    assert conflist.problem(parsed(chained), SOCKET) == ""
    assert conflist.remove(parsed(chained), FILE) == text


@pytest.mark.parametrize("text", LISTS)
def test_adding_again_changes_nothing(text: str) -> None:
    once = conflist.add(parsed(text), SOCKET, FILE)
    assert conflist.add(parsed(once), SOCKET, FILE) == once


def test_what_others_change_meanwhile_stays_when_the_entry_goes() -> None:
    def change(text: str) -> str:
        return text.replace('"name": "net"', '"name":   "other"').removesuffix("]}") + ', {"type": "sbr"}]}'

    chained = conflist.add(parsed(LISTS[0]), SOCKET, FILE)
    assert conflist.remove(parsed(change(chained)), FILE) == change(LISTS[0])


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([{"type": "tidegate", "agentSocket": SOCKET}, {"type": "bridge"}], "comes first"),
        ([{"type": "bridge"}, *[{"type": "tidegate", "agentSocket": SOCKET}] * 2], "2 times"),
        ([{"type": "bridge"}, {"type": "tidegate", "agentSocket": "/old"}, {"type": "sbr"}], "at /old"),
        ([{"type": "tidegate"}, {"type": "tidegate"}, {"type": "bridge"}, {"type": "tidegate"}], "3 times"),
    ],
)
def test_a_wrong_place_is_named_and_mended(ours: list[object], words: str) -> None:
    text = json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": ours})
    assert words in conflist.problem(parsed(text), SOCKET)
    mended = parsed(conflist.add(parsed(text), SOCKET, FILE))
    assert conflist.problem(mended, SOCKET) == ""
    assert [p["type"] for p in mended.plugins if p["type"] != "tidegate"] == [
        p["type"] for p in json.loads(text)["plugins"] if p["type"] != "tidegate"
    ]


def test_settings_that_somebody_gave_our_entry_stay() -> None:
    plugins = [{"type": "bridge"}, {"type": "tidegate", "timeoutSeconds": 5, "agentSocket": "/old"}]
    text = json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": plugins})
    mended = parsed(conflist.add(parsed(text), SOCKET, FILE))
    assert mended.plugins[1] == {"type": "tidegate", "timeoutSeconds": 5, "agentSocket": SOCKET}


def test_a_plain_configuration_becomes_a_list_and_is_found_in_it_again() -> None:
    wrapped = conflist.wrap(PLAIN, FILE)
    chained = conflist.add(parsed(wrapped), SOCKET, FILE)
    value = json.loads(chained)
    assert (value["cniVersion"], value["name"]) == ("0.3.1", "dbnet")
    assert [plugin["type"] for plugin in value["plugins"]] == ["bridge", "tidegate"]
    assert conflist.unwrap(conflist.remove(parsed(chained), FILE), FILE) == PLAIN


@pytest.mark.parametrize("text", LISTS)
def test_a_list_that_was_one_before_is_no_plain_configuration(text: str) -> None:
    assert conflist.unwrap(text, FILE) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"cniVersion": "1.0.0",\n "plugins": [\n  {"type": "bridge",}\n]}', r"net\.conflist:3: is not JSON"),
        ("", r"net\.conflist:1: is not JSON"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"cniVersion": "1.0.0", "plugins": []}', "has no plugins"),
        (
            '{"cniVersion": "1.0.0", "plugins": [{"type": "a"},\n\n {"name": "b"}]}',
            r"net\.conflist:3: is a plugin with",
        ),
        (
            '{"cniVersion": "0.2.0", "plugins": [{"type": "a"}]}',
            "cniVersion '0.2.0'; plugins can be chained from 0.3.0",
        ),
        ('{"plugins": [{"type": "a"}]}', "cniVersion None"),
    ],
)
def test_what_is_no_conflist_is_refused_with_file_and_line(text: str, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        parsed(text)


def test_nothing_is_left_of_a_list_without_a_primary_plugin() -> None:
    text = '{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "tidegate"}]}'
    with pytest.raises(Rejected, match="has no plugin besides tidegate"):
        conflist.remove(parsed(text), FILE)
