"""The table of mutants, one module per group of promises."""

from __future__ import annotations

from tests.mutants.mutant import Group
from tests.mutants.table import interception

GROUPS: tuple[Group, ...] = (*interception.GROUPS,)
