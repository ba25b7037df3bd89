"""Manifests as tests write them: YAML text to documents, without a file."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from tidegate_lab.cluster import Cluster
from tidegate_lab.manifest import Manifest, ManifestFile, parse


def documents(text: str, path: str = "/m/app.yaml") -> list[Manifest]:
    """Documents of a source with that text."""
    return parse(ManifestFile(Path(path), dedent(text)))


def cluster(text: str) -> Cluster:
    """A cluster in which that text has been applied."""
    made = Cluster()
    made.apply(documents(text))
    return made
