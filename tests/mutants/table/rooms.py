"""Who may know whom."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

TESTS = ("tests/unit/test_layers.py::test_the_page_has_every_room_and_its_imports",)

_ROOMS = Group(
    "a room imports what docs/architecture.md lets it know",
    (
        Mutant(
            "compiler-knows-the-kernel",
            "what is compiled depends on the machine that compiles it",
            "agent/tidegate/compile/nearness.py",
            "from tidegate.compile.derive import Read\n",
            "from tidegate.bpf import probe  # noqa: F401\nfrom tidegate.compile.derive import Read\n",
            TESTS,
        ),
        Mutant(
            "supervisor-knows-settings",
            "who starts Envoy and the relay goes by settings that are the agent's",
            "agent/tidegate/supervise/supervisor.py",
            "from tidegate.runtime.latest import Latest\n",
            "from tidegate.runtime.latest import Latest\nfrom tidegate.settings import Settings  # noqa: F401\n",
            TESTS,
        ),
    ),
)

GROUPS = (_ROOMS,)
