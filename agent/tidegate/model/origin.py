"""Where a thing was written by its author."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.names import ObjectKey


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a resource was written, for errors, NACKs and explain."""

    kind: str
    namespace: str
    name: str
    file: str = ""
    line: int = 0  # 1-based; 0 = unknown

    @classmethod
    def at(cls, key: ObjectKey, file: str, line: int) -> Origin:
        """Where the object of that key was written."""
        return cls(key.kind, key.namespace, key.name, file, line)

    @property
    def object(self) -> tuple[str, str, str]:
        """Kind, namespace and name of what was written: the same for each line of it."""
        return self.kind, self.namespace, self.name

    def at_line(self, line: int) -> str:
        """``FILE:LINE `` before something that stands there; empty if it came from no file: then names say where."""
        return f"{self.file}:{line} " if self.file else ""

    def __str__(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.kind} {self.namespace}/{self.name}{where}"
