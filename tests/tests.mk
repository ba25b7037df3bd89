# Suites. A suite that needs root or a kernel feature fails with the reason; nothing skips silently.
# Bytecode is kept, outside the sources: compiling them is a quarter of an agent's start, and suites start hundreds.
CACHED := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/$(BUILD)/pycache $(PY)
PYTEST := $(CACHED) -m pytest
RESULTS := $(BUILD)/results
SUITES := unit acceptance bpf relay contract envoy stories lab e2e
# Where a suite lives, if not in tests/SUITE alone. The lab is a distribution of its own and brings its tests along.
PATHS_unit := tests/unit lab/tests/unit
PATHS_lab := lab/tests/stories
paths = $(or $(PATHS_$(1)),tests/$(1))
# `make test` runs three lanes at once: two cores, and suites that wait now and then; each takes about a third of the time.
# All but the first have namespaces of their own (tests/support/cell.sh), because labs have the same names. The stories
# are two suites there, by what they are about: traffic, and the node.
PATHS_traffic := $(addprefix tests/stories/,documents filters gateway routing)
PATHS_node := $(filter-out $(PATHS_traffic) %/__pycache__,$(patsubst %/,%,$(wildcard tests/stories/*/)))
comma := ,
lane = $(foreach s,$(1),$(s)=$(subst $() ,$(comma),$(call paths,$(s))))
LANES = $(call lane,$(filter-out stories lab,$(SUITES))) + $(call lane,node) + $(call lane,traffic lab)

define suite
test-$(1): setup ## run $(call paths,$(1))
	@mkdir -p $(RESULTS)
	$(PYTEST) $(call paths,$(1)) --junit-xml=$(RESULTS)/$(1).xml
endef
$(foreach s,$(SUITES),$(eval $(call suite,$(s))))

test-netns: test-envoy test-stories test-lab ## every suite that makes network namespaces

# Every suite runs even if one before it failed; the closing line counts all of them.
test: setup ## every suite that this machine can run
	@mkdir -p $(RESULTS); rm -f $(RESULTS)/*.xml; \
	mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; \
	$(PY) -m tests.support.footprint > $(RESULTS)/footprint.json; \
	export TIDEGATE_FOOTPRINT=$(RESULTS)/footprint.json; \
	$(CACHED) -m tests.support.lanes $(RESULTS) $(LANES); \
	$(PYTEST) -q tests/after --junit-xml=$(RESULTS)/after.xml || true; \
	$(PY) tests/support/closing_line.py $(RESULTS) $(filter-out stories,$(SUITES)) node traffic after

# `make test` runs these tests in their suites; this target is the one command for all rows of docs/faults.md.
test-cases: setup ## the tests of docs/faults.md alone
	@mkdir -p $(RESULTS); mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
	$(PYTEST) -m case $(foreach s,$(SUITES),$(call paths,$(s))) --junit-xml=$(RESULTS)/cases.xml

# Breaks the product on purpose, one mutant at a time (tests/mutants), and sees its tests fail: no part of `make test`,
# which only checks that the table fits the tree (tests/unit/test_mutants.py).
ONLY ?=
CONTINUE ?=
test-mutants: setup ## each deliberate breakage turns its tests red (ONLY="name other-*"; hours: CONTINUE=1 goes on where a run ended)
	$(PY) -m tests.mutants $(if $(CONTINUE),--continue) $(foreach name,$(ONLY),'$(name)')

# One version, because each formats differently: Debian 12's, as its compiler.
CLANG_FORMAT := clang-format-14
C_FILES = $(shell find agent bpf cni tests -name '*.[ch]')

format-c: setup ## lay out C and BPF as .clang-format says
	$(CLANG_FORMAT) -i $(C_FILES)

lint: setup ## ruff, mypy --strict, clang-format; warnings of both C compilers are errors in build
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@echo "$(CLANG_FORMAT) --dry-run -Werror"; $(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
