"""aiohttp comes without the authorities of the rest of the world, and leaves the process as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.certificates import Authority

SCRIPT = """
import os, ssl
before = dict(os.environ)
from tidegate.runtime.http import aiohttp
print(aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"])
print(ssl.create_default_context().cert_store_stats()["x509_ca"])
print(dict(os.environ) == before)
"""


@pytest.mark.parametrize("named", [True, False])
def test_authorities_are_read_by_who_asks_for_them(tmp_path: Path, *, named: bool) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(Authority().certificate)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    if named:
        environ |= {"SSL_CERT_FILE": str(authority), "SSL_CERT_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with_it, later, unchanged = done.stdout.split()
    assert (with_it, unchanged) == ("0", "True")
    assert not named or later == "1"
