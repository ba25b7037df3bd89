"""`make test-kernels`: run tests/bpf on each kernel of kernels.toml, in QEMU, on the host's own tree (read-only)."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tomllib
from pathlib import Path

from tests.kernels.debian import Kernel, KernelError, unpack
from tests.kernels.guest import Guest
from tests.support.closing_line import main as closing_line

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "kernels"
RESULTS = ROOT / "build" / "results"
# Emulated, everything takes about twenty times as long: pytest-timeout's limit for one test grows with it.
COMMAND = ".venv/bin/python -m pytest tests/bpf -o timeout=600 --color=no --junit-xml=/run/results/junit.xml"


def kernels(names: list[str]) -> list[Kernel]:
    """The kernels of kernels.toml, or those of them that are named. Raises KernelError for a name that is not there."""
    listed = [Kernel(**entry) for entry in tomllib.loads((HERE / "kernels.toml").read_text())["kernel"]]
    unknown = set(names) - {kernel.name for kernel in listed}
    if unknown:
        raise KernelError(f"no such kernel: {' '.join(sorted(unknown))}; known: {' '.join(k.name for k in listed)}")
    return [kernel for kernel in listed if not names or kernel.name in names]


def run(kernel: Kernel, timeout: float) -> str:
    """Boot one kernel, run the tests, leave build/results/kernel-NAME.xml; returns release and version of the kernel.

    timeout: seconds from power-on to power-off. Raises KernelError if there is no complete result.
    """
    result = RESULTS / f"kernel-{kernel.name}.xml"
    result.unlink(missing_ok=True)
    work = BUILD / kernel.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        print(f"== {kernel.name}: fetching {kernel.package}", file=sys.stderr, flush=True)
        boot = unpack(kernel, BUILD / "cache", work)
        guest = Guest(boot, ROOT, COMMAND, work)
        print(f"== {kernel.name}: booting {boot.release}, {timeout:.0f} s at most", file=sys.stderr, flush=True)
        guest.run(timeout)
        version, status = guest.answer("kernel"), guest.answer("status")
        if guest.junit.is_file():
            shutil.copyfile(guest.junit, result)
        if status not in ("0", "1"):
            raise KernelError(f"{kernel.name}: pytest ended with status {status}")
        if guest.answer("tainted") != "0":
            raise KernelError(f"{kernel.name}: the kernel warned of itself; its log is above")
        return version
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.kernels", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="KERNEL", help="names in kernels.toml; default: all")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for one kernel (default: %(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as Ctrl-C: the guest ends, files go
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        chosen = kernels(args.names)
    except KernelError as error:
        print(f"test-kernels: {error}", file=sys.stderr)
        return 1
    complete = True
    versions: list[str] = []
    for kernel in chosen:
        try:
            versions.append(f"kernel-{kernel.name} ran on Linux {run(kernel, args.timeout)}")
        except KernelError as error:
            print(f"test-kernels: {error}", file=sys.stderr)
            complete = False
    for line in versions:
        print(line)
    failed = closing_line(RESULTS, [f"kernel-{kernel.name}" for kernel in chosen])
    return 0 if complete and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
