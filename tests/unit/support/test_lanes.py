"""The lanes of `make test`: every suite runs, whatever became of the one before it, and is told in one piece."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.lanes import Lane, Suite, lanes_of

RED = "def test_red():\n    print('why')\n    assert False\n"
GREEN = "def test_green():\n    pass\n"


def test_words_become_lanes_of_suites() -> None:
    assert lanes_of(["unit=a,b", "bpf=c", "+", "stories=d"]) == [
        [Suite("unit", ("a", "b")), Suite("bpf", ("c",))],
        [Suite("stories", ("d",))],
    ]


@pytest.mark.parametrize("word", ["unit", "=a", "unit="])
def test_another_word_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match=repr(word)):
        lanes_of(["bpf=c", word])


def test_a_suite_that_fails_ends_nothing_and_its_report_is_one_piece(tmp_path: Path) -> None:
    for name, text in (("red", RED), ("green", GREEN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test_it.py").write_text(text)
    told: list[str] = []
    suites = [Suite(name, (str(tmp_path / name),)) for name in ("red", "green")]
    Lane(suites, tmp_path, told.append, (sys.executable, "-c", _IN.format(str_=str(tmp_path)))).run()
    begun = [text.split()[1] for text in told if "begins" in text]
    assert begun == ["red", "green"]
    assert any(text.startswith("red ") and text.endswith("[100%]") for text in told)
    assert any(text.startswith("== red\n") and "why" in text and "1 failed" in text for text in told)
    assert 'failures="1"' in (tmp_path / "red.xml").read_text()
    assert 'failures="0"' in (tmp_path / "green.xml").read_text()


def test_a_lane_that_is_stopped_begins_nothing_more(tmp_path: Path) -> None:
    told: list[str] = []
    lane = Lane([Suite("green", (str(tmp_path),))], tmp_path, told.append)
    lane.stop()
    lane.run()
    assert not told


# The suites' own pytest reads no settings of this tree.
_IN = "import os, sys; os.chdir({str_!r}); os.execv(sys.argv[1], sys.argv[1:])"
