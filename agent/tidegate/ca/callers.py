"""The table of who may ask an authority for whom: a file, in TOML. Pure.

    [[caller]]
    name = "node1"                          # in the log
    token_sha256 = "9f86d08188..."          # of the word that it shows; `sha256sum` of the word without a line's end
    may = ["shop/*", "default/sleep"]       # NAMESPACE/ACCOUNT

    [[caller]]
    name = "agents"
    account = "istio-system/tidegate"       # whose Kubernetes token, or certificate of the mesh, it shows
    may = ["node"]                          # whoever has a pod on the node that the caller's pod is on

Whoever shows that it is an account of the mesh may ask for that account, also if no row is for it.
"""

from __future__ import annotations

import hmac
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from tidegate.errors import Rejected
from tidegate.model.identity import Identity, identity_in

NODE: Final = "node"
MOST_ROWS: Final = 100_000
_PATTERN = re.compile(r"(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/(\*|[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"name", "token_sha256", "account", "may"}


@dataclass(frozen=True, slots=True)
class CallerRow:
    """One caller. Either digest or account says who it is."""

    name: str
    may: tuple[str, ...]
    digest: str = ""
    account: Identity | None = None

    @property
    def of_its_node(self) -> bool:
        """Whether it may ask for whoever has a pod on its node."""
        return NODE in self.may

    def names(self, identity: Identity) -> bool:
        """Whether it may ask for an identity wherever that runs."""
        return any(
            namespace in ("*", identity.namespace) and account in ("*", identity.account)
            for namespace, _, account in (one.partition("/") for one in self.may if one != NODE)
        )


@dataclass(frozen=True, slots=True)
class CallerTable:
    """Who may ask for whom."""

    by_digest: Mapping[str, CallerRow]
    by_account: Mapping[Identity, CallerRow]

    def with_word(self, word: str) -> CallerRow | None:
        """Whose word it is."""
        digest = sha256(word.encode()).hexdigest()
        found = self.by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None


NOBODY: Final = CallerTable({}, {})


def caller_table(text: bytes, subject: str) -> CallerTable:
    """The table of a file; subject: what it is called in errors. Raises Rejected."""
    try:
        document = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Rejected(subject, f"is not TOML: {error}") from None
    rows = document.pop("caller", [])
    if document or not isinstance(rows, list) or len(rows) > MOST_ROWS:
        raise Rejected(subject, "has something else than [[caller]]", f"at most {MOST_ROWS} of these, and nothing else")
    by_digest: dict[str, CallerRow] = {}
    by_account: dict[Identity, CallerRow] = {}
    names: set[str] = set()
    for number, one in enumerate(rows, 1):
        where = f"{subject}: caller {number}"
        row = _row(one, where)
        if row.name in names:
            raise Rejected(where, f"is called {row.name!r}, as another one is")
        names.add(row.name)
        if row.digest:
            if by_digest.setdefault(row.digest, row) is not row:
                raise Rejected(where, f"has the token of {by_digest[row.digest].name!r}", "give each its own")
        elif row.account is not None and by_account.setdefault(row.account, row) is not row:
            raise Rejected(where, f"is the account of {by_account[row.account].name!r}", "write one row")
    return CallerTable(by_digest, by_account)


def _row(one: Any, where: str) -> CallerRow:
    if not isinstance(one, dict):
        raise Rejected(where, "is no table", "write [[caller]]")
    if unknown := sorted(one.keys() - _FIELDS):
        raise Rejected(where, f"has {', '.join(unknown)}", f"known are {', '.join(sorted(_FIELDS))}")
    name = one.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[!-~]{1,253}", name):
        raise Rejected(where, "has no name", 'write name = "..." of up to 253 characters without blanks')
    where = f"{where} ({name})"
    may = one.get("may", [])
    if not isinstance(may, list) or not all(isinstance(m, str) and (m == NODE or _PATTERN.fullmatch(m)) for m in may):
        raise Rejected(where, "has a may that is none", f'write NAMESPACE/ACCOUNT, * for any of these, or "{NODE}"')
    digest, account = one.get("token_sha256", ""), one.get("account", "")
    if (digest == "") == (account == ""):
        raise Rejected(where, "does not say who it is", "write either token_sha256 or account")
    if digest:
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise Rejected(where, "has a token_sha256 that is none", "write 64 hexadecimal digits, small letters")
        if NODE in may:
            raise Rejected(where, f'cannot have "{NODE}": of a word nobody knows the node', "write NAMESPACE/ACCOUNT")
        return CallerRow(name, tuple(may), digest)
    namespace, _, rest = account.partition("/") if isinstance(account, str) else ("", "", "")
    known = identity_in(Identity(namespace, rest).spiffe("any"))
    if known is None:
        raise Rejected(where, f"has account {account!r}", "write NAMESPACE/ACCOUNT")
    return CallerRow(name, tuple(may), account=known[1])
