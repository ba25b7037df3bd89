"""Write the C source of the extension tidegate._bpf: declarations come from the headers, through the preprocessor.

Run by bpf/build.mk: ``python ffi_build.py OUTPUT.c``. It is never imported by the agent.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
BPF = HERE.parents[1] / "bpf"
HEADERS = (
    BPF / "include" / "tg_abi.h",
    BPF / "include" / "tg_reason.h",
    BPF / "core" / "core_io.h",
    HERE / "tgb.h",
)


def declarations(headers: tuple[Path, ...] = HEADERS) -> str:
    """The headers as cffi's parser wants them: expanded, without includes and line marks."""
    command = ["cc", "-E", "-P", "-xc", "-DTG_ABI_CDEF"]
    return "\n".join(
        subprocess.run([*command, str(header)], check=True, capture_output=True, text=True).stdout for header in headers
    )


def main() -> None:
    ffi = FFI()
    ffi.cdef(declarations())
    ffi.set_source("tidegate._bpf", f'#include "{HERE / "tgb.h"}"\n')
    ffi.emit_c_code(sys.argv[1])


if __name__ == "__main__":
    main()
