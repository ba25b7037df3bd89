"""Documents are cut apart before parsing, and every value knows its line."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.config.tree import Tree, YamlMap, format_path, line_of, pieces, read_trees


def plain(data: Any) -> Any:
    """A copy of a tree without marks."""
    if isinstance(data, YamlMap):
        return {k: plain(v) for k, v in data.items()}
    return [plain(v) for v in data] if isinstance(data, list) else data


def one(text: str) -> Tree:
    (tree,) = read_trees(text)
    return tree


def test_lines_of_nested_values() -> None:
    root = one("a: 1\nb:\n  - x\n  - y: 2\n    z: 3\n").value
    assert line_of(root, ("a",)) == 1
    assert line_of(root, ("b", 1, "z")) == 5
    assert line_of(root, ("b", 1)) == 4
    assert line_of(root, ("b", 1, "missing")) == 4, "the deepest part that exists"


def test_lines_count_from_the_top_of_the_file() -> None:
    first, second = read_trees("# comment\n---\na: 1\n--- # again\n\nb: 2\n...\n")
    assert (first.line, line_of(first.value, ("a",))) == (3, 3)
    assert (second.line, line_of(second.value, ("b",))) == (6, 6)


def test_a_bad_document_leaves_the_others() -> None:
    trees = list(read_trees("a: 1\n---\nb: [\n---\nc: 3\n"))
    assert [plain(t.value) for t in trees] == [{"a": 1}, None, {"c": 3}]
    assert trees[1].problem is not None
    assert trees[1].problem.line == 3


def test_dashes_inside_a_text_are_no_boundary() -> None:
    tree = one("a: |\n  --- not a boundary\n  ...\nb: 1\n")
    assert plain(tree.value) == {"a": "--- not a boundary\n...\n", "b": 1}


def test_empty_documents_are_left_out() -> None:
    assert list(read_trees("---\n---\n# only a comment\n---\n")) == []


def test_content_on_the_boundary_line() -> None:
    assert plain(one("--- {a: 1}\n").value) == {"a": 1}


def test_scalars_as_json_knows_them() -> None:
    tree = one("a: yes\nb: 0x10\nc: 1.5\nd: ~\ne: 2001-01-01\nf: 'no'\n80: x\n")
    assert plain(tree.value) == {"a": True, "b": 16, "c": 1.5, "d": None, "e": "2001-01-01", "f": "no", "80": "x"}


def test_merge_keys_and_aliases_are_copies() -> None:
    root = one("base: &b {x: 1, y: 2}\nmine: {<<: *b, y: 3}\nsame: *b\n").value
    assert plain(root["mine"]) == {"x": 1, "y": 3}
    assert root["same"] is not root["base"]
    assert root["same"].path == ("same",)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2\n", 2, "appears twice"),
        ("{a: 1, a: 2}\n", 1, "appears twice"),
        ("? [a]\n: 1\n", 1, "a key must be a word"),
        ("a: &a [*a]\n", 1, "too large or too deep"),
        ("a:\n\t- b\n", 2, "is not YAML"),
        ("a: \x01\n", 1, "is not YAML"),
        ("a: 1\n<<: 3\n", 2, "<< needs a mapping"),
    ],
)
def test_what_is_refused(text: str, line: int, part: str) -> None:
    problem = one(text).problem
    assert problem is not None
    assert part in problem.said.text
    assert problem.line == line


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        text += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    problem = one(text).problem
    assert problem is not None
    assert "too large" in problem.said.text


def test_format_path() -> None:
    assert format_path(("spec", "http", 0, "match")) == "spec.http[0].match"


def test_rename_keeps_the_line() -> None:
    value = one("x: 1\nold: 2\n").value
    assert isinstance(value, YamlMap)
    value.rename("old", "new")
    assert line_of(value, ("new",)) == 2


@pytest.mark.case("D6")
@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("%YAML 1.1\n---\na: 1\n", [(3, 1)]),
        ("# ours\n\n%YAML 1.2 # ours\n--- # one\na: 1\n", [(5, 1)]),
        ("%TAG !x! tag:x,2026:\n---\na: 1\n", [(3, 1)]),
        ("a: 1\n...\n%YAML 1.1\n---\na: 2\n---\na: 3\n", [(1, 1), (5, 2), (7, 3)]),
        ("\ufeff---\na: 1\n\ufeff---\na: 2\n", [(2, 1), (4, 2)]),
        ("\ufeffa: 1\n", [(1, 1)]),
        ("%YAML 1.1\n--- {a: 1}\n", [(2, 1)]),
    ],
)
def test_directives_and_marks_belong_to_the_document_that_follows(text: str, documents: list[tuple[int, int]]) -> None:
    found = list(read_trees(text))
    assert [tree.problem for tree in found] == [None] * len(documents)
    assert [(tree.line, tree.value["a"]) for tree in found] == documents


@pytest.mark.case("D6")
@pytest.mark.parametrize(
    ("text", "part"),
    [("%YAML 2.0\n---\na: 1\n", "incompatible"), ("%NOTHING\n---\na: 1\n", "directive")],
)
def test_a_directive_that_cannot_be_followed_is_named(text: str, part: str) -> None:
    (tree,) = read_trees(text)
    assert tree.problem is not None
    assert (tree.problem.line, part in tree.problem.said.text) == (1, True)


def test_many_lines_that_look_like_directives_cost_no_more_than_others() -> None:
    text = "%YAML 1.1\n" * 200_000
    assert len(list(pieces(text))) == 1


@pytest.mark.case("D6")
def test_json_that_writes_a_character_as_two_is_read() -> None:
    """As `json.dumps` of Python does. What is no escape stays as it is."""
    (tree,) = read_trees('{"a": "\\ud83d\\uDE00!", "b": "\\\\ud83d\\\\ude00", "c": "\\\\\\ud83d\\ude00"}')
    assert tree.problem is None
    assert tree.value == {"a": "\U0001f600!", "b": "\\ud83d\\ude00", "c": "\\\U0001f600"}
    (block,) = read_trees("a: \\ud83d\\ude00")
    assert block.value == {"a": "\\ud83d\\ude00"}
