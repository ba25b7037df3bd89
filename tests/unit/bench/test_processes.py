"""What a benchmark reads of its programs."""

from __future__ import annotations

import os

from tests.bench.processes import Lines


def test_two_lines_that_come_at_once_are_two_answers_and_a_line_in_pieces_is_one() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    os.write(writing, b'{"ready": true}\n{"at": 1}\n{"at"')
    assert [lines.line(0), lines.line(0)] == [b'{"ready": true}', b'{"at": 1}']
    os.write(writing, b": 2}\nthe e")
    os.close(writing)
    assert [lines.line(0), lines.line(0), lines.line(0)] == [b'{"at": 2}', b"the e", b""]
    os.close(reading)
