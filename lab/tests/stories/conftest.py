from __future__ import annotations

from tests.support.labs import needs_root, plain_lab, probe_lab, web_lab

__all__ = ["needs_root", "plain_lab", "probe_lab", "web_lab"]
