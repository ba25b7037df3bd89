"""Builds tidegate._relay: the layouts that the agent shares with the relay's process, by cffi in API mode.

The declarations are the preprocessed headers themselves, so a layout is never written twice; cffi's generated C then
checks each of them against the real one at compile time.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sysconfig
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
ABI = HERE.parent.parent / "bpf" / "include" / "tg_abi.h"
PUBLIC = HERE / "relay_abi.h"


def declarations(compiler: str) -> str:
    """The text for cdef(): the kernel's layouts, then the relay's, without what they include."""
    command = [*shlex.split(compiler), "-E", "-P", "-DTG_ABI_CDEF", "-x", "c", "-include", str(ABI), str(PUBLIC)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Write the extension to --output. Raises CalledProcessError if a compiler fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("sources", nargs="+")
    options = parser.parse_args()

    ffi = cffi.FFI()
    ffi.cdef(declarations(options.cc))
    ffi.set_source("tidegate._relay", '#include "relay_abi.h"', py_limited_api=True)
    source = options.build / "_relay.c"
    ffi.emit_c_code(str(source))
    command = [
        *shlex.split(options.cc),
        *("-O2", "-g", "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-shared", "-fvisibility=hidden"),
        f"-I{HERE}",
        f"-I{sysconfig.get_path('include')}",
        *("-o", str(options.output), str(source)),
        *options.sources,
    ]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
