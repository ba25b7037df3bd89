"""One file's text -> documents. A bad document never hides the others.

Neighbours: tree cuts and parses, reading knows what a document means, sources feed this module, store keeps the best of
each object.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tidegate.config import messages as say
from tidegate.config.reading import Reading, items, read
from tidegate.config.tree import pieces, read_tree
from tidegate.model.mesh import NO_OBJECT, MeshObject, Problem
from tidegate.model.names import ObjectKey
from tidegate.model.text import printable


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one YAML document and the line of its file in which it begins."""

    first: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """One object as written."""

    key: ObjectKey
    file: str  # as reported to the user; empty: it comes from no file
    line: int
    value: MeshObject | None  # None: not usable, or of no interest
    failed: bool = False  # it has errors, so an earlier version of it stays in force
    problems: tuple[Problem, ...] = ()
    piece: Piece | None = field(default=None, repr=False, compare=False)  # kept on disk while a newer one is broken

    def in_place_of(self, other: Document) -> Document:
        """This document, told beside another one of the same object that came before it and has lost."""
        said = say.DEFINED_TWICE(place=f"{other.file}:{other.line}" if other.file else "another source")
        told = problem_of(said, self.file, self.line, self.key)
        return replace(self, problems=(*other.problems, *self.problems, told))


@dataclass(frozen=True, slots=True)
class Part:
    """What one piece of a file says."""

    piece: Piece
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()  # of what has no name
    unreadable: bool = False  # some object in it could not be told apart


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says."""

    path: str  # as reported to the user
    parts: tuple[Part, ...] = ()

    @property
    def documents(self) -> list[Document]:
        """Everything that has a name, in the order of the file."""
        return [document for part in self.parts for document in part.documents]

    @property
    def nameless(self) -> tuple[Problem, ...]:
        """Findings about what has no name."""
        return tuple(problem for part in self.parts for problem in part.problems)

    @property
    def problems(self) -> list[Problem]:
        """All findings."""
        return [*self.nameless, *(problem for document in self.documents for problem in document.problems)]

    @property
    def unreadable(self) -> bool:
        """Whether some object could not be told apart, so that absence of one means nothing."""
        return any(part.unreadable for part in self.parts)

    def objects(self) -> dict[ObjectKey, Document]:
        """The document that speaks for each object: the last one, as `kubectl apply` of the file would leave it."""
        found: dict[ObjectKey, Document] = {}
        for part in self.parts:
            for document in part.documents:
                other = found.get(document.key)
                found[document.key] = document if other is None else document.in_place_of(other)
        return found


def parse_text(text: str, path: str, before: ParsedFile | None = None) -> ParsedFile:
    """Read every document of a file. path is how the file is called in problems and origins.

    before: an earlier reading of the file; what stands unchanged in it is taken from there.
    """
    known = {part.piece: part for part in before.parts} if before is not None and before.path == path else {}
    parts = []
    for first, chunk in pieces(text):
        piece = Piece(first, chunk)
        part = known.get(piece) or read_piece(piece, path)
        if part.documents or part.problems:
            parts.append(part)
    return ParsedFile(path, tuple(parts))


def read_piece(piece: Piece, path: str) -> Part:
    """Read one YAML document: an object, a list of them, nothing, or something that is wrong."""
    tree = read_tree(piece.first, piece.text)
    if tree is None:
        return Part(piece)
    if tree.problem is not None:
        return Part(piece, (), (problem_of(tree.problem.said, path, tree.problem.line),), unreadable=True)
    documents: list[Document] = []
    problems: list[Problem] = []
    for item in items(tree):
        reading = read(item, path)
        if reading.named:
            documents.append(document_of(reading, path, piece))
        else:
            problems += _problems(reading, path)
    return Part(piece, tuple(documents), tuple(problems), bool(problems))


def document_of(reading: Reading, path: str, piece: Piece | None) -> Document:
    """What was read, as one object of a source."""
    return Document(
        key=reading.key,
        file=path,
        line=reading.line,
        value=reading.value,
        failed=reading.failed,
        problems=_problems(reading, path),
        piece=piece,
    )


def _problems(reading: Reading, path: str) -> tuple[Problem, ...]:
    return tuple(problem_of(f.said, path, f.line, reading.key, f.path) for f in reading.findings)


def problem_of(said: say.Said, file: str, line: int, about: ObjectKey = NO_OBJECT, path: str = "") -> Problem:
    """What was said, at its place."""
    return Problem(file, line, said.severity, said.code, about, printable(path), printable(said.text))
