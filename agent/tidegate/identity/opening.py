"""Which authority certifies the workloads of a process: one elsewhere, or the embedded one."""

from __future__ import annotations

from pathlib import Path

from tidegate.identity.embedded import EmbeddedAuthority
from tidegate.identity.files import WatchedFile
from tidegate.identity.revocation import Revocations, revocations_in
from tidegate.identity.store import Issuer


def open_revocations(file: Path | None) -> WatchedFile[Revocations] | None:
    """Lists of revoked certificates in a file. Raises Rejected: who was told of such lists does not start without."""
    return WatchedFile(file, revocations_in) if file is not None else None


def open_issuer(address: str, root: Path | None, token: Path | None, server_name: str, folder: Path) -> Issuer:
    """address: HOST:PORT of the one elsewhere, empty for the embedded one of a folder; the rest: RemoteAuthority."""
    if not address or root is None:  # settings.py: there is no address without a root
        return EmbeddedAuthority(folder)
    # Imported here: gRPC's client is of no use to those who sign for themselves (decision 36).
    from tidegate.identity.remote import RemoteAuthority

    return RemoteAuthority(address, root, token, server_name=server_name)
