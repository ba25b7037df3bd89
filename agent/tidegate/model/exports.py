"""exportTo: which namespaces an object of the Istio API is there for."""

from __future__ import annotations


def exported(to: tuple[str, ...], own: str, client: str) -> bool:
    """Whether an object of namespace `own` is there for clients of a namespace. "." is its own, "~" nobody's."""
    return any(name in ("*", client) or (name == "." and client == own) for name in to)
