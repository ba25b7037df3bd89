"""What each program costs the verifier: the instructions that it goes through over all paths (bpf_prog_info).

A kernel refuses a program beyond a million of them, loads it slowly long before, and counts otherwise than the next.
`python -m tests.bpf.verifier_cost` prints what this kernel counts; with --write it refreshes verifier_cost.json, also
by what `make test-kernels` left in build/results.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.bpf.pod import OBJECTS

from tidegate.bpf import lookup
from tidegate.bpf.hooks import HOOKS
from tidegate.bpf.objects import BpfObject
from tidegate.native import lib

FILE = Path(__file__).with_suffix(".json")
RESULTS = OBJECTS.parent / "results"

Cost = dict[str, int]  # by program


def kernel() -> str:
    """The running kernel's version as far as the verifier depends on it: "6.1"."""
    return ".".join(os.uname().release.split(".")[:2])


def measured() -> Cost:
    """Every program loaded on this kernel, as the agent loads it."""
    found: Cost = {}
    for file in sorted({hook.file for hook in HOOKS} | {lookup.OBJECT.removesuffix(".bpf.o")}):
        with BpfObject(OBJECTS / f"{file}.bpf.o") as loaded:
            if file == "connect":
                loaded.set_constant("tg_has_set_retval", "uint32_t", lib.tgb_has_set_retval())
            loaded.load()
            programs = [hook.program for hook in HOOKS if hook.file == file] or [lookup.PROGRAM]
            found |= {name: loaded.program(name).verified for name in programs}
    return found


def known() -> dict[str, Cost]:
    """By kernel, what was counted there when the file was last refreshed."""
    content: dict[str, Cost] = json.loads(FILE.read_text())
    return content


def main() -> None:
    mine = {"kernel": kernel(), "programs": measured()}
    if "--write" not in sys.argv:
        print(json.dumps(mine))
        return
    seen = [mine, *(json.loads(path.read_text()) for path in sorted(RESULTS.glob("kernel-*-verifier.json")))]
    content = known() | {entry["kernel"]: entry["programs"] for entry in seen}
    FILE.write_text(json.dumps(dict(sorted(content.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
