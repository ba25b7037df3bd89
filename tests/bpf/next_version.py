"""The agent of the next ABI version, as a test build: our sources with a field more in each table that agents write.

It is a whole agent of its own (programs, extension, Python) in a directory: layouts are compiled into all three.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tidegate.native import lib

ROOT = Path(__file__).resolve().parents[2]
VERSION = int(lib.TG_ABI_VERSION) + 1
_HEADER = {
    f"TG_ABI_VERSION = {VERSION - 1},": f"TG_ABI_VERSION = {VERSION},",
    "	uint32_t scope; /* of its rows in tg_dests; 0 = everybody's */\n": (
        "	uint32_t scope;\n	uint64_t test_pod;\n"
    ),
    "	uint8_t protocol; /* enum tg_protocol */\n	uint8_t scope;    /* tg_pod.scope */\n};\n\nstruct tg_dest {": (
        "	uint8_t protocol;\n	uint8_t scope;\n	uint32_t test_dest_key;\n};\n\nstruct tg_dest {"
    ),
    "the compiler's number for the service; for events and `tidegate services` */\n": "*/\n	uint64_t test_dest;\n",
    "in every version */\n	uint32_t pad;\n": "*/\n	uint32_t pad;\n	uint64_t test_settings;\n",
}
# tg_dest_key is built field by field in the hook.
_SET = "	key->port_be = row == TG_ROW_ADDRESS ? 0 : in->dst_port_be;\n"
_HOOK = {_SET: _SET + "	key->test_dest_key = 0;\n"}
STEPS = f"""

STEPS[{VERSION}] = {{
    "tg_pods": Step(value=lambda raw: raw + bytes(8)),
    "tg_dests": Step(key=lambda raw: raw + bytes(4), value=lambda raw: raw + bytes(8)),
}}
"""
# Every program counts, so every program is another one.
_PROGRAMS = {
    "	count = bpf_map_lookup_elem(&tg_counters, &reason);\n	if (count)": (
        "	count = bpf_map_lookup_elem(&tg_counters, &reason);\n	if (count && *count != ~0ULL)"
    )
}


def build(directory: Path, *, steps: str = STEPS, header: dict[str, str] | None = None) -> Path:
    """Build the next version in an empty directory and return that; run it with PYTHONPATH=directory/agent."""
    for name in ("bpf", "agent/native", "agent/tidegate"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("_bpf.abi3.so", "__pycache__"))
    _replace(directory / "bpf/include/tg_abi.h", _HEADER if header is None else header)
    _replace(directory / "bpf/include/tg_maps.h", _PROGRAMS)
    if header is None:
        _replace(directory / "bpf/core/connect_core.h", _HOOK)
    with (directory / "agent/tidegate/bpf/migrations.py").open("a") as file:
        file.write(steps)
    python = f"PY={sys.executable} PYTHON=/usr/bin/python3 VENV={ROOT / '.venv'}"
    command = f"make -s -f bpf/build.mk bpf-objects agent/tidegate/_bpf.abi3.so BUILD=build {python}"
    subprocess.run(command.split(), cwd=directory, check=True)
    for path in (ROOT / "build").iterdir():  # what does not know the layouts, for the whole agent
        if path.name not in ("bpf", "results"):
            (directory / "build" / path.name).symlink_to(path)
    return directory


def _replace(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text()
    for old, new in changes.items():
        pattern = r"\s+".join(map(re.escape, old.split()))  # however it is laid out
        text, times = re.subn(pattern, new.strip().replace("\\", r"\\"), text)
        assert times == 1, f"{path.name} has {old!r} {times} times"
    path.write_text(text)
