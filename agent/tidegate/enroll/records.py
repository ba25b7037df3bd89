"""Sandboxes on disk, one JSON file each, so that an agent that was killed finds its pods again.

A record says which namespace it means by its cookie, and where the runtime had put it. Device and inode are written for
agents that went by them. An agent before `attachments` wrote the addresses of the interface that it heard of last, and
not its name; it reads our records and keeps no more than `ips` of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tidegate.model.names import WorkloadId
from tidegate.model.net import parse_ip
from tidegate.model.workload import Attachment, Capture, Sandbox

log = logging.getLogger(__name__)

FORMAT = 1


class Records:
    """A directory of records. Files have mode 0600 and are replaced by rename."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, sandbox: Sandbox, identity: tuple[int, int]) -> None:
        """Write or replace the record of a sandbox. identity: device and inode of its namespace. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        device, inode = identity
        body = {
            "format": FORMAT,
            "pod": {"namespace": sandbox.id.namespace, "name": sandbox.id.name},
            "container_id": sandbox.container_id,
            "netns": {"path": sandbox.runtime_path, "device": device, "inode": inode},
            "netns_cookie": sandbox.netns_cookie,
            "ips": [str(ip) for ip in sandbox.ips],
            "capture": asdict(sandbox.capture),
            "v6_capture": sandbox.v6_capture,
            "kubernetes": sandbox.kubernetes,
            "attachments": [
                {"ifname": a.ifname, "network": a.network, "ips": [str(ip) for ip in a.ips]}
                for a in sandbox.attachments
            ],
        }
        new = self._directory / f".{sandbox.container_id}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(body, file, indent=1)
        os.replace(new, self._file(sandbox.container_id))

    def remove(self, container_id: str) -> None:
        """Forget a record; one that is not there is fine."""
        self._file(container_id).unlink(missing_ok=True)

    def read(self) -> Iterator[Sandbox]:
        """All sandboxes, oldest record first; records that cannot be read are removed. netns_path is left empty."""
        for file in sorted(self._directory.glob("*.json"), key=_written):
            try:
                sandbox = _parse(json.loads(file.read_text()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("sandbox record %s cannot be read and is removed: %s", file, error)
                file.unlink(missing_ok=True)
            else:
                yield sandbox
        for leftover in self._directory.glob(".*.new"):
            leftover.unlink(missing_ok=True)

    def _file(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.json"


def _parse(body: dict[str, Any]) -> Sandbox:
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']} is not {FORMAT}")
    ips = tuple(parse_ip(ip) for ip in body["ips"])
    return Sandbox(
        id=WorkloadId(body["pod"]["namespace"], body["pod"]["name"]),
        container_id=body["container_id"],
        netns_path="",
        netns_cookie=int(body["netns_cookie"]),
        ips=ips,
        capture=Capture(**body["capture"]),
        v6_capture=bool(body["v6_capture"]),
        kubernetes=bool(body.get("kubernetes", True)),  # agents before this field knew Kubernetes pods only
        runtime_path=body["netns"]["path"],
        attachments=_attachments(body.get("attachments")) or (Attachment("", "", ips),),
    )


def _attachments(written: Any) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(str(a["ifname"]), str(a["network"]), tuple(parse_ip(ip) for ip in a["ips"])) for a in written or ()
    )


def _written(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime_ns
    return 0
