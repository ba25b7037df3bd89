"""Last good text of objects that are broken now, on disk, so that an agent that starts anew still serves it.

Nothing is written while every document is good.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from tidegate.config.documents import Document, Piece, parse_text, read_piece
from tidegate.model.names import ObjectKey

log = logging.getLogger(__name__)


class LastGood:
    """A directory with one JSON record, mode 0600, per object that is broken now. Use from one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._saved: dict[Path, Piece | None] | None = None  # record -> what it holds; None: not looked at yet

    def seed(self) -> list[Document]:
        """What an earlier agent served in place of broken documents."""
        self._saved = {}
        documents = []
        for record in sorted(self._directory.glob("*.json")):
            try:
                saved = json.loads(record.read_text())
                found = _documents(saved)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("last good configuration %s cannot be read and is removed: %s", record, error)
                record.unlink(missing_ok=True)
                continue
            self._saved[record] = found[0].piece if len(found) == 1 else None
            documents += found
        return documents

    def keep(self, broken: Mapping[ObjectKey, Document]) -> None:
        """Keep what would be lost with this process, and nothing else."""
        saved = self._saved if self._saved is not None else {}
        wanted = {self._record(key): document for key, document in broken.items() if document.piece is not None}
        for record, document in wanted.items():
            if saved.get(record) != document.piece and self._save(record, document):
                saved[record] = document.piece
        for record in saved.keys() - wanted.keys():
            record.unlink(missing_ok=True)
            del saved[record]
        self._saved = saved

    def _save(self, record: Path, document: Document) -> bool:
        assert document.piece is not None
        text = {
            "path": document.file,
            "key": list(document.key),
            "line": document.piece.first,
            "text": document.piece.text,
        }
        new = record.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(text, file)
            new.replace(record)
        except OSError as error:
            log.warning("the last good version of %s would not survive a restart: %s", document.key, error)
            return False
        return True

    def _record(self, key: ObjectKey) -> Path:
        return self._directory / f"{blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()}.json"


def _documents(record: Mapping[str, object]) -> list[Document]:
    """The documents of a record; one without a key holds a whole file, as agents used to write it."""
    path, text, line, key = record["path"], record["text"], record.get("line", 1), record.get("key")
    if not isinstance(path, str) or not isinstance(text, str) or not isinstance(line, int):
        raise TypeError("it holds something else")
    if key is None:
        return parse_text(text, path).documents
    return [document for document in read_piece(Piece(line, text), path).documents if list(document.key) == key]
