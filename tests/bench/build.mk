# The load tools of `make bench`: build/bench/{l4server,l4load,crowd,httpserver,httpload}.
BENCH_TOOLS := $(patsubst %,$(BUILD)/bench/%,l4server l4load crowd httpserver httpload)
BENCH_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
BUILD_TARGETS += $(BENCH_TOOLS)

$(BENCH_TOOLS): $(BUILD)/bench/%: tests/bench/%.c tests/bench/net.c tests/bench/net.h tests/bench/build.mk
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $< tests/bench/net.c -pthread

.PHONY: bench-readme
# QUICK=1: two very short rounds, to see that everything runs. PODS=own: without Tidegate, on two bare pods.
# ONLY="scale.1k recover": these groups of figures; what build/bench.json has of the others stays.
bench: setup ## measure paths, scale and promises, write build/bench.json (ONLY=scale.1k; QUICK=1 for a smoke test)
	$(PY) -m tests.bench $(if $(QUICK),--quick) $(if $(PODS),--pods $(PODS)) $(foreach name,$(ONLY),--only '$(name)') -o $(BUILD)/bench.json

bench-readme: ## publish build/bench.json: docs/bench.json and the table of README.md
	$(PY) -m tests.bench.readme --bench $(BUILD)/bench.json
