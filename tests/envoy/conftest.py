from __future__ import annotations

from tests.support.labs import needs_root

__all__ = ["needs_root"]
