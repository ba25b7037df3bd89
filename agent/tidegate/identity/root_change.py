"""The steps by which the root of a mesh becomes another one without a peer that is refused.

Each step is done to the folder of an authority; a process that signs there follows it. Between two steps every node has
to have heard of the one before, which `tidegate certs` shows: a certificate's next renewal brings the roots of now.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tidegate.errors import Rejected
from tidegate.identity.authority import (
    BELOW_CERTIFICATE,
    MORE_ROOTS,
    ROOT_CERTIFICATE,
    ROOT_KEY,
    alone,
    new_root,
    open_authority,
    write_whole,
)
from tidegate.identity.chains import certificates_in, root_ids

NEXT_KEY, NEXT_CERTIFICATE = "next-root-key.pem", "next-root-cert.pem"


class RootStep(StrEnum):
    """What is done."""

    PREPARE = "prepare"  # the next root is made, and everybody is to believe it
    SWITCH = "switch"  # it signs; that of before is still believed
    FINISH = "finish"  # that of before is not believed any more


def change_root(step: RootStep, folder: Path, trust_domain: str, now: float) -> str:
    """Do a step; what was done and what comes next, for people. now: seconds since the epoch. A step that was cut off
    is done by doing it again. Raises OSError, and Rejected if it is not its turn."""
    if (folder / BELOW_CERTIFICATE).exists():
        raise Rejected(str(folder), "is of an authority below a root", "its root is changed where its key is")
    if step is RootStep.PREPARE:
        return _prepare(folder, trust_domain, now)
    return _switch(folder) if step is RootStep.SWITCH else _finish(folder)


def _prepare(folder: Path, trust_domain: str, now: float) -> str:
    open_authority(folder, trust_domain, now)
    with alone(folder):
        if (folder / MORE_ROOTS).exists() and not (folder / NEXT_KEY).exists():
            raise Rejected(str(folder / MORE_ROOTS), "is there: another change is under way", "finish that one first")
        certificate = new_root(folder / NEXT_KEY, folder / NEXT_CERTIFICATE, trust_domain, now)
        _trust(folder, certificate)
    return _told(
        certificate,
        "will sign next, and is believed by who renews his certificate",
        RootStep.SWITCH,
        "has it among ROOTS",
    )


def _switch(folder: Path) -> str:
    with alone(folder):
        path = folder / NEXT_CERTIFICATE
        if not path.exists():
            raise Rejected(str(path), "is not there", f"do {RootStep.PREPARE} first")
        certificate = certificates_in(path.read_bytes())[0]
        current = certificates_in((folder / ROOT_CERTIFICATE).read_bytes())[0]
        _trust(folder, current)
        # A process that looks between these two finds a key of another certificate, and goes on as before.
        if (folder / NEXT_KEY).exists():
            (folder / NEXT_KEY).rename(folder / ROOT_KEY)
        path.rename(folder / ROOT_CERTIFICATE)
    return _told(certificate, "signs", RootStep.FINISH, "has it as ISSUER")


def _finish(folder: Path) -> str:
    with alone(folder):
        if (folder / NEXT_CERTIFICATE).exists():
            raise Rejected(str(folder / NEXT_CERTIFICATE), "does not sign yet", f"do {RootStep.SWITCH} first")
        (folder / MORE_ROOTS).unlink(missing_ok=True)
        certificate = certificates_in((folder / ROOT_CERTIFICATE).read_bytes())[0]
    return f"only {_called(certificate)} is believed, by who renews his certificate"


def _trust(folder: Path, one: x509.Certificate) -> None:
    path = folder / MORE_ROOTS
    there = certificates_in(path.read_bytes()) if path.exists() else []
    if one not in there:
        write_whole(path, b"".join(each.public_bytes(Encoding.PEM) for each in (*there, one)), 0o644)


def _called(one: x509.Certificate) -> str:
    return f"{one.subject.rfc4514_string()} ({root_ids(one.public_bytes(Encoding.PEM))[0]})"


def _told(one: x509.Certificate, what: str, following: RootStep, when: str) -> str:
    return f"{_called(one)} {what}; when every row of `tidegate certs` {when}: --change-root {following}"
