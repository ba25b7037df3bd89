"""One virtual machine: boots, runs a command on the host's tree, leaves its answers in a directory, powers off."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.kernels.debian import Boot, KernelError

INIT = Path(__file__).with_name("init.sh")
QEMU = "qemu-system-x86_64"
MEMORY_MIB = 4096
# A panic ends the guest at once (with -no-reboot). quiet: the console is for the tests. nosoftlockup: while the guest
# is idle its clock follows the host's, and a host that stops QEMU for a while would pass for a CPU that was stuck.
KERNEL_ARGS = "console=ttyS0 quiet panic=-1 nosoftlockup"


class Guest:
    def __init__(self, boot: Boot, root: Path, command: str, work: Path) -> None:
        """boot: the kernel. command: a shell command, run by root in directory root. work: for this guest's files."""
        self._image = boot.image
        self._initramfs = work / "initramfs"
        self.results = work / "results"
        self.results.mkdir()
        files = {"init": INIT.read_bytes(), "bin/busybox": boot.busybox}
        files |= {"ROOT": str(root).encode(), "COMMAND": command.encode()}
        files |= {f"modules/{n:02}-{name}.ko": data for n, (name, data) in enumerate(boot.modules.items())}
        self._initramfs.write_bytes(archive(files))

    def answer(self, name: str) -> str:
        """What the guest wrote. Raises KernelError if it did not: it died before."""
        try:
            return (self.results / name).read_text().strip()
        except FileNotFoundError:
            raise KernelError(f"the guest ended without {name}; its console is above") from None

    def run(self, timeout: float) -> None:
        """Power on, copy the console to stderr, return when the guest has powered off.

        timeout: seconds. Raises KernelError when they are over; QEMU is gone in every case.
        """
        deadline = time.monotonic() + timeout
        with subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
            assert qemu.stdout is not None
            try:
                while True:
                    left = deadline - time.monotonic()
                    if left <= 0 or not select.select([qemu.stdout.fileno()], [], [], left)[0]:
                        raise KernelError(f"the guest was not done after {timeout:.0f} s")
                    output = os.read(qemu.stdout.fileno(), 1 << 16)
                    if not output:
                        break
                    sys.stderr.write(output.decode(errors="replace").replace("\r", ""))
                    sys.stderr.flush()
            finally:
                qemu.kill()
        # Killed after the end of its output: only an exit of its own before that tells of QEMU's own trouble.
        if qemu.returncode > 0:
            raise KernelError(f"{shlex.join(self._command())} ended with status {qemu.returncode}")

    def _command(self) -> list[str]:
        # One emulated CPU on one thread: what the machine has besides is for others. icount: the guest's clocks count
        # instructions, one a nanosecond, and follow the host's only while the CPU is idle. So a guest's second does not
        # show that emulation is slow; tests keep the limits that they have anywhere.
        # (With two CPUs the kernel does not get through its boot in this mode.)
        args = [QEMU, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on", "-rtc", "clock=vm"]
        args += ["-cpu", "max", "-smp", "1", "-m", str(MEMORY_MIB)]
        args += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio", "-nic", "none"]
        args += ["-kernel", str(self._image), "-initrd", str(self._initramfs), "-append", KERNEL_ARGS]
        # multidevs: the host's tree consists of several file systems whose inode numbers may be the same.
        share = "local,security_model=none"
        args += ["-virtfs", f"{share},path=/,mount_tag=host,readonly=on,multidevs=remap"]
        args += ["-virtfs", f"{share},path={self.results},mount_tag=results"]
        return args


def archive(files: dict[str, bytes]) -> bytes:
    """A cpio archive in the kernel's "newc" format: these files, executable, and the directories they are in."""
    directories = sorted({path.rpartition("/")[0] for path in files} - {""})
    out = bytearray()
    entries = [(path, 0o040755, b"") for path in directories] + [(p, 0o100755, data) for p, data in files.items()]
    for inode, (path, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)
