"""`make test-kernels`: run the suites of kernels.toml on its kernels, in QEMU, on the host's own tree (read-only)."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.debian import Kernel, KernelError, unpack
from tests.kernels.guest import Guest
from tests.support.closing_line import main as closing_line

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "kernels"
RESULTS = ROOT / "build" / "results"
LISTS = tomllib.loads((HERE / "kernels.toml").read_text())
PYTEST = ".venv/bin/python -m pytest --color=no --durations=5"


@dataclass(frozen=True, slots=True)
class Suite:
    """One entry of kernels.toml. paths: what pytest gets."""

    name: str
    paths: list[str]

    def command(self) -> str:
        """For the guest's shell."""
        return f"{PYTEST} {' '.join(self.paths)} --junit-xml=/run/results/{self.name}.xml"


def suites(names: list[str]) -> list[Suite]:
    """The suites of kernels.toml, or those of them that are named. Raises KernelError for a name that is not there."""
    listed = [Suite(**entry) for entry in LISTS["suite"]]
    return [suite for suite in listed if suite.name in chosen(names, [suite.name for suite in listed], "suite")]


def chosen(names: list[str], known: list[str], what: str) -> list[str]:
    """names, or all that are known. Raises KernelError for one that is not known."""
    if unknown := set(names) - set(known):
        raise KernelError(f"no such {what}: {' '.join(sorted(unknown))}; known: {' '.join(known)}")
    return names or known


def of(kernel: Kernel, wanted: list[Suite]) -> list[Suite]:
    """Those of the wanted suites that run on a kernel: its own, or all that are nobody's own."""
    own = {name for entry in LISTS["kernel"] for name in entry.get("suites", ())}
    return [suite for suite in wanted if (suite.name in kernel.suites if kernel.suites else suite.name not in own)]


def commands(wanted: list[Suite]) -> str:
    """All suites one after the other, whatever becomes of each; before them what doctor and the verifier say."""
    doctor = ".venv/bin/tidegate doctor -o json > /run/results/doctor.json"
    environment = "export COLUMNS=150"
    # Nothing of it where programs cannot be loaded.
    cost = ".venv/bin/python -m tests.bpf.verifier_cost > /run/cost && cp /run/cost /run/results/verifier.json"
    return "; ".join([environment, doctor, cost, *(suite.command() for suite in wanted), "true"])


def kernels(names: list[str]) -> list[Kernel]:
    """The kernels of kernels.toml, or those of them that are named. Raises KernelError for a name that is not there."""
    listed = [Kernel(**{**entry, "suites": tuple(entry.get("suites", ()))}) for entry in LISTS["kernel"]]
    return [kernel for kernel in listed if kernel.name in chosen(names, [kernel.name for kernel in listed], "kernel")]


def run(kernel: Kernel, wanted: list[Suite], timeout: float) -> str:
    """Boot one kernel, run the suites; returns release and version of the kernel.

    Leaves build/results/kernel-NAME-SUITE.xml, kernel-NAME-doctor.json and kernel-NAME-verifier.json.

    timeout: seconds from power-on to power-off. Raises KernelError if there is no complete result.
    """
    for old in RESULTS.glob(f"kernel-{kernel.name}-*"):
        if old.stem.removeprefix(f"kernel-{kernel.name}-") in {"doctor", "verifier", *(suite.name for suite in wanted)}:
            old.unlink()
    work = BUILD / kernel.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        print(f"== {kernel.name}: fetching {kernel.package}", file=sys.stderr, flush=True)
        boot = unpack(kernel, BUILD / "cache", work)
        guest = Guest(boot, ROOT, commands(wanted), work)
        print(f"== {kernel.name}: booting {boot.release}, {timeout:.0f} s at most", file=sys.stderr, flush=True)
        try:
            guest.run(timeout)
        finally:  # what is complete counts, even if the guest died over the next
            for path in guest.results.glob("*.*"):
                shutil.copyfile(path, RESULTS / f"kernel-{kernel.name}-{path.name}")
        version = guest.answer("kernel")
        if guest.answer("status") != "0":
            raise KernelError(f"{kernel.name}: the guest could not be set up; its console is above")
        if guest.answer("tainted") != "0":
            raise KernelError(f"{kernel.name}: the kernel warned of itself; its log is above")
        return version
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.kernels", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="KERNEL", help="names in kernels.toml; default: all")
    parser.add_argument("--suite", action="append", default=[], metavar="SUITE", help="default: all of kernels.toml")
    parser.add_argument("--cost", action="store_true", help="no suite: only what doctor and the verifier say there")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one kernel (default: %(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # as Ctrl-C: the guest ends, files go
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        machines, wanted = kernels(args.names), [] if args.cost else suites(args.suite)
    except KernelError as error:
        print(f"test-kernels: {error}", file=sys.stderr)
        return 1
    complete = True
    versions: list[str] = []
    for kernel in machines:
        try:
            versions.append(f"kernel-{kernel.name} ran on Linux {run(kernel, of(kernel, wanted), args.timeout)}")
        except KernelError as error:
            print(f"test-kernels: {error}", file=sys.stderr)
            complete = False
    for line in versions:
        print(line)
    failed = closing_line(
        RESULTS, [f"kernel-{kernel.name}-{suite.name}" for kernel in machines for suite in of(kernel, wanted)]
    )
    return 0 if complete and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
