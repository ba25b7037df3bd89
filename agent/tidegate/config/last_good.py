"""Last good text of files that are broken now, on disk, so that an agent that starts anew still serves it.

Nothing is written while every file is good. Use from one event loop.
"""

from __future__ import annotations

import json
import logging
import os
from hashlib import blake2b
from pathlib import Path

from tidegate.config.documents import parse_text
from tidegate.config.source import Loaded

log = logging.getLogger(__name__)


class LastGood:
    """A directory with one JSON record, mode 0600, per file that is broken now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._texts: dict[str, str] = {}  # file -> its last good text
        self._saved: set[str] = set()

    def seed(self) -> Loaded:
        """What an earlier agent served in place of broken files. Merge it before the first reading of the sources."""
        files = []
        for record in sorted(self._directory.glob("*.json")):
            try:
                saved = json.loads(record.read_text())
                path, text = str(saved["path"]), str(saved["text"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("last good configuration %s cannot be read and is removed: %s", record, error)
                record.unlink(missing_ok=True)
                continue
            self._texts[path] = text
            self._saved.add(path)
            files.append(parse_text(text, path))
        return Loaded(tuple(files))

    def remember(self, loaded: Loaded) -> None:
        """Keep what is about to be lost with this process; forget what is good again or gone."""
        for parsed in loaded.files:
            if parsed.is_good:
                self._texts[parsed.path] = parsed.text
                self._forget(parsed.path)
            elif parsed.path in self._texts and parsed.path not in self._saved:
                self._save(parsed.path)
        unread = {problem.file for problem in loaded.problems}
        for path in self._texts.keys() - {parsed.path for parsed in loaded.files} - unread:
            self._forget(path)
            del self._texts[path]

    def _save(self, path: str) -> None:
        record = self._record(path)
        new = record.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump({"path": path, "text": self._texts[path]}, file)
            new.replace(record)
        except OSError as error:
            log.warning("the last good version of %s would not survive a restart: %s", path, error)
            return
        self._saved.add(path)

    def _forget(self, path: str) -> None:
        if path in self._saved:
            self._record(path).unlink(missing_ok=True)
            self._saved.discard(path)

    def _record(self, path: str) -> Path:
        return self._directory / f"{blake2b(path.encode(), digest_size=16).hexdigest()}.json"
