"""Tokens of service accounts, verified by keys in a file: what the cluster serves at /openid/v1/jwks."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.ca.tokens import Account, VerifyingKey, account_in, key_set
from tidegate.errors import Rejected
from tidegate.runtime.clock import Clock

KeySet = tuple[VerifyingKey, ...]


class SignedTokens:
    """See issuing.Tokens. A token whose pod is gone is good until it expires: only the cluster knows better."""

    def __init__(self, keys: Callable[[], KeySet], audience: str, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._clock = clock

    async def account(self, token: str) -> Account:
        """See issuing.Tokens."""
        return account_in(token, self._keys(), self._audience, self._issuer, self._clock.now())


def keys_of_file(content: bytes, subject: str) -> KeySet:
    """Raises Rejected."""
    try:
        return key_set(content)
    except (ValueError, RecursionError) as error:
        raise Rejected(subject, f"has no keys that can be used: {error}", "write a JWKS") from None
