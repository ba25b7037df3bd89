"""The certificate that the authority's own server shows: of the authority itself, made anew at half of its life and
when the authority changes. Its key is in memory only."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tidegate.ca.service import ShownCertificate
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.keys import new_key, pem_of
from tidegate.runtime.clock import Clock

LIFETIME_SECONDS = 86_400.0


class ServerCertificate:
    """For any thread: gRPC asks from its own."""

    def __init__(self, folder: AuthorityFolder, trust_domain: str, names: Sequence[str], clock: Clock) -> None:
        """folder: for this use alone. names: host names and addresses by which clients know the server."""
        self._folder = folder
        self._trust_domain = trust_domain
        self._names = names
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[object, float, ShownCertificate] | None = None  # of whom, when it is made anew

    def now(self) -> ShownCertificate:
        """What is shown now. Raises OSError and TidegateError if there is none yet."""
        with self._lock:
            now = self._clock.now()
            authority = self._folder.now(self._trust_domain, now)
            if self._made is None or self._made[0] is not authority or self._made[1] <= now:
                key = new_key()
                lifetime = min(LIFETIME_SECONDS, authority.expires - now)
                signed = authority.sign_server(key.public_key(), self._names, now, lifetime)
                tls = ShownCertificate(signed.chain, pem_of(key), signed.roots)
                self._made = authority, now + lifetime / 2, tls
            return self._made[2]
