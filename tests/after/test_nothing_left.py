"""Last suite of `make test`: the machine is as it was before the first one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.footprint import bpf_objects, footprint, left


def test_the_suites_left_nothing_behind() -> None:
    recorded = os.environ.get("TIDEGATE_FOOTPRINT")
    assert recorded, "TIDEGATE_FOOTPRINT names no file: run `make test`, which records what there was before"
    before = {kind: set(found) for kind, found in json.loads(Path(recorded).read_text()).items()}

    def nothing() -> bool:
        found = left(before, {**footprint(), **bpf_objects()})
        assert not found, found
        return True

    eventually(nothing, "nothing is left")
