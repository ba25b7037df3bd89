"""Ask and wait for the answer, as often as it goes; standard library only.

`rounds.py HOST PORT`: one connection to a server that sends back what it gets, 64 bytes at a time. Says `asks` on
standard error once the first answer is there. Goes on until its standard input ends, then prints how many answers came.
"""

from __future__ import annotations

import socket
import sys
import threading

MESSAGE = b"?" * 64


over = threading.Event()


def wait() -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    answers = 0
    with socket.create_connection((host, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not over.is_set():
            sock.sendall(MESSAGE)
            missing = len(MESSAGE)
            while missing:
                got = sock.recv(missing)
                if not got:
                    raise SystemExit("the server has closed")
                missing -= len(got)
            answers += 1
            if answers == 1:
                print("asks", file=sys.stderr, flush=True)
                threading.Thread(target=wait, daemon=True).start()
    print(answers)


if __name__ == "__main__":
    main()
