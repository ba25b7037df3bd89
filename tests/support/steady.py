"""Load client: asks at a steady rate until its standard input says stop, then prints one JSON object.

Half of the requests go over one kept-alive connection, half over a fresh connection each. Standard library only.
Usage: steady.py ADDRESS PORT PATH RATE
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter


class Stream:
    """One thread of requests. A connection that Envoy announced to close is not used again."""

    def __init__(self, address: str, port: int, path: str, rate: float, *, fresh: bool) -> None:
        self.where, self.path, self.rate, self.fresh = (address, port), path, rate, fresh
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest = 0.0
        self.gap = 0.0  # longest time without an answer of status 200, seconds
        self.first, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        begin = good = time.monotonic()
        index = 0
        while not self.stop.is_set():
            index += 1
            time.sleep(max(0.0, begin + index / self.rate - time.monotonic()))
            start = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection(*self.where, timeout=120)
                connection.request("GET", self.path, headers={"Host": "web"})
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    self.seen[json.loads(body)["version"]] += 1
                    self.gap, good = max(self.gap, time.monotonic() - good), time.monotonic()
                else:
                    self.failures.append(f"{index}: {response.status} {body[:80]!r}")
                if self.fresh or response.will_close:
                    connection.close()
                    connection = None
                self.first.set()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{index}: {error!r}")
                connection = None
            self.slowest = max(self.slowest, time.monotonic() - start)


def main() -> None:
    address, port, path, rate = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    streams = [Stream(address, port, path, rate / 2, fresh=fresh) for fresh in (False, True)]
    for stream in streams:
        stream.first.wait(120)
    print("started", flush=True)
    sys.stdin.readline()
    for stream in streams:
        stream.stop.set()
        stream.thread.join()
    seen: Counter[str] = sum((stream.seen for stream in streams), Counter())
    failures = [failure for stream in streams for failure in stream.failures]
    json.dump(
        {
            "seen": seen,
            "failed": len(failures),
            "failures": failures[:20],
            "slowest": max(stream.slowest for stream in streams),
            "gap": max(stream.gap for stream in streams),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
