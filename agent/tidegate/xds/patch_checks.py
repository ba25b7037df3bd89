"""What a client says of the patches of EnvoyFilters, each of which is shown to it in a listener or cluster of its own.

Those of routes are judged as rules are (checks.py). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.verdict import Verdict
from tidegate.xds.encode import Image
from tidegate.xds.watch import Watch


class PatchChecks:
    """What one client said so far."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[EnvoyResource, str]] = {}

    def take_verdicts(self, image: Image | None, watches: Mapping[str, Watch]) -> list[Verdict]:
        """What it said since this was called last."""
        if image is None or not image.patch_checks:
            self._told.clear()
            return []
        out = []
        for (kind, name), resource in image.patch_checks.items():
            refused = _refused(image, watches[kind], kind, name)
            if refused is None or self._told.get((kind, name)) == (resource, refused):
                continue
            self._told[kind, name] = (resource, refused)
            out.append(Verdict(resource.judged, refused))
        for key in self._told.keys() - image.patch_checks.keys():
            del self._told[key]
        return out


def _refused(image: Image, watch: Watch, kind: str, name: str) -> str | None:
    """Why the client refused a resource; "" if it took it, None if it said nothing yet."""
    encoded = image.get(kind, name)
    broken = image.rejection(kind, name)
    if broken is not None:
        return broken.detail
    if encoded is None:
        return None
    rejection = watch.rejected.get((name, encoded.version))
    if rejection is not None:
        return rejection.detail
    held = watch.held.get(name)
    return "" if held is not None and held.version == encoded.version else None
