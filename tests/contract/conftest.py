"""Fakes and the real devices that they stand for, side by side. The real ones need root; without it they fail."""

from __future__ import annotations

from tests.bpf.conftest import make_pod, open_datapath, tree
from tests.support.labs import needs_root

__all__ = ["make_pod", "needs_root", "open_datapath", "tree"]
