"""The table of mutants, one module per group of promises: each module of this folder has GROUPS."""

from __future__ import annotations

import importlib
import pkgutil
from itertools import chain

from tests.mutants.mutant import Group

GROUPS: tuple[Group, ...] = tuple(
    chain.from_iterable(
        importlib.import_module(f"{__name__}.{module.name}").GROUPS
        for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name)
    )
)
