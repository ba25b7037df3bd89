"""aiohttp, as this project uses it: on unix sockets and on localhost, never for https to the rest of the world.

When it is imported, aiohttp reads all certificate authorities of the machine for requests that nobody here makes: 40 ms
of each start of an agent and of each command that asks one. So there are none while it is imported. Who wants https one
day gives the request an `ssl.SSLContext` of its own, with the authorities that are meant; without one it fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Where OpenSSL's default authorities are (SSL_CTX_set_default_verify_paths(3)).
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def _no_authorities() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _no_authorities():
    import aiohttp
    from aiohttp import typedefs, web

__all__ = ["aiohttp", "typedefs", "web"]
