"""HTTP client that test pods run. Standard library only; prints one JSON object.

`ask.py URL [-X METHOD] [-H k:v]...` makes one request and prints status, headers, body and seconds.
`ask.py URL --count N [--rate R] [--fresh]` makes N requests, at R per second if given, on one kept-alive connection or
(--fresh) one connection each, and prints statuses, versions that answered, failures, how many connections it took, and
each change of version (seconds since the epoch, version).
`ask.py URL --until-told ...` goes on until its standard input ends, and tells on standard error what happens meanwhile:
a line `now VERSION` for each change.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

GUARD_SECONDS = 120  # against hanging, and nothing else


def connection(host: str, port: int, family: str) -> http.client.HTTPConnection:
    made = http.client.HTTPConnection(host, port, timeout=GUARD_SECONDS)
    kind = {"4": socket.AF_INET, "mapped": socket.AF_INET}.get(family, socket.AF_INET6)
    address = socket.getaddrinfo(host, port, kind, socket.SOCK_STREAM)[0][4]
    if family == "mapped":
        address = ("::ffff:" + str(address[0]), port, 0, 0)
    made.sock = socket.socket(socket.AF_INET if family == "4" else socket.AF_INET6, socket.SOCK_STREAM)
    if family == "v6only":
        made.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.sock.settimeout(GUARD_SECONDS)
    made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.sock.connect(address)
    return made


def once(made: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str]) -> dict[str, object]:
    start = time.monotonic()
    made.request(method, target, headers=headers)
    response = made.getresponse()
    text = response.read().decode()
    try:
        body: object = json.loads(text)
    except ValueError:
        body = text
    return {
        "status": response.status,
        "headers": {key.lower(): value for key, value in response.getheaders()},
        "body": body,
        "seconds": time.monotonic() - start,
    }


def until_told(told: threading.Event) -> None:
    sys.stdin.read()
    told.set()


def many(options: argparse.Namespace, host: str, port: int, target: str, headers: dict[str, str]) -> dict[str, object]:
    statuses: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    failures: list[str] = []
    changes: list[tuple[float, str]] = []
    made, connections, index = None, 0, -1
    told = threading.Event()
    if options.until_told:
        threading.Thread(target=until_told, args=(told,), daemon=True).start()
    begin = time.monotonic()
    while not told.is_set() and (options.until_told or index + 1 < options.count):
        index += 1
        if options.rate:
            time.sleep(max(0.0, begin + index / options.rate - time.monotonic()))
        try:
            if made is None:
                made = connection(host, port, options.family)
                connections += 1
            answer: dict[str, Any] = once(made, options.method, target, headers)
            statuses[str(answer["status"])] += 1
            body = answer["body"]
            version = str(body.get("version", "")) if isinstance(body, dict) else ""
            versions[version] += 1
            if not changes or changes[-1][1] != version:
                changes.append((time.time(), version))
                if options.until_told:
                    print("now", version, file=sys.stderr, flush=True)
            if options.fresh or answer["headers"].get("connection") == "close":
                made.close()
                made = None
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{index}: {error!r}")
            made = None
    return {
        "statuses": statuses,
        "versions": versions,
        "failures": failures[:20],
        "failed": len(failures),
        "changes": changes[-40:],
        "connections": connections,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("--family", default="4", choices=["4", "6", "mapped", "v6only"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--until-told", action="store_true")
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    url = urlsplit(options.url)
    headers = {k.strip(): v.strip() for k, _, v in (h.partition(":") for h in options.headers)}
    headers.setdefault("Host", url.netloc)
    target = (url.path or "/") + ("?" + url.query if url.query else "")
    host, port = url.hostname or "", url.port or 80
    if options.count or options.until_told:
        result = many(options, host, port, target, headers)
    else:
        try:
            result = once(connection(host, port, options.family), options.method, target, headers)
        except (OSError, http.client.HTTPException) as error:
            result = {"status": 0, "error": repr(error)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
