"""Many objects at once, written into etcd beside the API server: for tests that only read them.

`bulk.py URL` reads lines `KEY<tab>JSON` and writes them through etcd's HTTP gateway, a hundred in one transaction. No
admission runs, so defaults have to be in the objects, and addresses of Services are allocated to nobody. Controllers
and the scheduler see them as all others: pods of a node that is not there are removed, pods without one get one. A test
that wants them to stay stops both before (`Cluster.control.stop`).
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import urllib.request
from collections.abc import Iterable, Iterator

AT_ONCE = 100  # operations in one transaction; etcd refuses more than 128


def key(plural: str, namespace: str, name: str) -> str:
    """Where the API server keeps an object. namespace: "" for what is in none.

    plural: `services/specs`, `endpointslices`, `pods`, `minions` (which are Nodes).
    """
    return "/".join(filter(None, ("/registry", plural, namespace, name)))


def put(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """A transaction that writes these keys and values."""
    return {"success": [{"requestPut": {"key": _base64(key), "value": _base64(value)}} for key, value in pairs]}


def transactions(pairs: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """Bodies for POST /v3/kv/txn."""
    left = iter(pairs)
    while some := list(itertools.islice(left, AT_ONCE)):
        yield json.dumps(put(some)).encode()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        where, _, value = line.rstrip("\n").partition("\t")
        yield where, value


def main(url: str) -> None:
    """Write what is on standard input."""
    for body in transactions(_read(sys.stdin)):
        with urllib.request.urlopen(f"{url}/v3/kv/txn", body) as answer:
            answer.read()


if __name__ == "__main__":
    main(sys.argv[1])
