"""Client of a pod that keeps one connection to an echo of probe.py and uses it without end; standard library only.

`keeping.py ADDRESS PORT FILE`: a round trip every 50 ms. FILE has how many there were, then ` cut` when the
connection broke; the program ends then, or when FILE is gone.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

GUARD_SECONDS = 120  # against hanging, and nothing else


def main() -> None:
    address, port, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with socket.create_connection((address, port), GUARD_SECONDS) as sock:
        sock.sendall(b"echo\n")
        count = 0
        while not count or file.exists():
            word = b"%08d" % count
            try:
                sock.sendall(word)
                whole = sock.recv(8, socket.MSG_WAITALL) == word
            except OSError:
                whole = False
            count += whole
            said = file.with_suffix(".new")
            said.write_text(f"{count}" if whole else f"{count} cut")
            said.rename(file)
            if not whole:
                return
            time.sleep(0.05)


main()
