"""A resolver that says one address to everything, and a client that asks as a C library does: a new socket each time.

`questions.py serve ADDRESS`. `questions.py ask RESOLVER NAME COUNT RATE`: so many questions for addresses at so many
per second; prints {"said": ADDRESS, "us": [microseconds of each]}. Standard library only.
"""

from __future__ import annotations

import json
import socket
import sys
import time

PORT = 53
SAID = "192.0.2.1"  # TEST-NET-1
_NUMBER = 2  # bytes
_ANSWERED = b"\x81\x80\0\1\0\1\0\0\0\0"  # an answer, and how many of what are in it
_RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4"  # of the name that was asked for: type, class, seconds, length
_PLAIN = b"\1\0\0\1\0\0\0\0\0\0"  # a question


def serve(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, PORT))
        while True:
            message, client = sock.recvfrom(4096)
            sock.sendto(b"".join((message[:_NUMBER], _ANSWERED, message[12:], _RECORD, socket.inet_aton(SAID))), client)


def ask(resolver: str, name: str, count: int, rate: float) -> dict[str, object]:
    """Raises OSError, and ValueError for an answer that is none or another than the one before."""
    asked = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    taken, said = [], ""
    due = time.monotonic()
    for number in range(count):
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        message = number.to_bytes(_NUMBER) + _PLAIN + asked
        begun = time.perf_counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((resolver, PORT))
            sock.send(message)
            answer = sock.recv(4096)
        taken.append(round((time.perf_counter() - begun) * 1e6, 1))
        address = socket.inet_ntoa(answer[-4:])
        if answer[:_NUMBER] != message[:_NUMBER] or (said and address != said):
            raise ValueError(f"{name}: {answer!r} after {said}")
        said = address
    return {"said": said, "us": taken}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    print(json.dumps(ask(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
