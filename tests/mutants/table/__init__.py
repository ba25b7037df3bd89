"""The table of mutants, one module per group of promises."""

from __future__ import annotations

from tests.mutants.mutant import Group
from tests.mutants.table import (
    change,
    data_plane,
    faults_d,
    faults_e,
    interception,
    node,
    observing,
    process,
    relay,
    routing,
)

GROUPS: tuple[Group, ...] = (
    *interception.GROUPS,
    *routing.GROUPS,
    *change.GROUPS,
    *data_plane.GROUPS,
    *relay.GROUPS,
    *process.GROUPS,
    *node.GROUPS,
    *observing.GROUPS,
    *faults_d.GROUPS,
    *faults_e.GROUPS,
)
