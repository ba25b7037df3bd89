# Fuzzers of what takes bytes from outside: `make fuzz`, or SECONDS=600 make fuzz, or FUZZERS=image make fuzz.
# Each target is tests/fuzz/<name>.c. It is built twice: with libFuzzer (clang only), and as a program that replays the
# corpus in the ordinary suites (tests/relay/test_fuzz_corpus.py).
FUZZERS ?= cni_call cni_wire control hello image image_file policies relay
FUZZ_ALL := cni_call cni_wire control hello image image_file policies relay
FUZZ_OUT := $(BUILD)/fuzz
SECONDS ?= 30
FUZZ_CLANG ?= clang
FUZZ_CFLAGS := -std=gnu11 -O1 -g -D_GNU_SOURCE -pthread -Wall -Wextra -Werror -fno-omit-frame-pointer \
	-fno-sanitize-recover=all
FUZZ_HEADERS := $(wildcard tests/fuzz/*.h tests/relay/unit/*.h cni/*.h agent/relay/*.h bpf/include/*.h)

FUZZ_CNI_WORLD := -Wl,--wrap=connect,--wrap=sendmsg,--wrap=recv,--wrap=poll,--wrap=nanosleep,--wrap=clock_gettime
FUZZ_SOURCES_cni_call := tests/fuzz/cni_world.c cni/call.c cni/wire.c
FUZZ_LIBS_cni_call := $(FUZZ_CNI_WORLD) -ljansson
FUZZ_SOURCES_cni_wire := tests/fuzz/cni_world.c cni/wire.c
FUZZ_LIBS_cni_wire := $(FUZZ_CNI_WORLD) -ljansson
FUZZ_SOURCES_control := $(FP_ENGINE)
FUZZ_SOURCES_hello := agent/relay/hello.c
FUZZ_SOURCES_image_file := $(addprefix agent/relay/,health.c image.c image_file.c sealed.c lb.c loop.c routes.c seats.c target.c turns.c)
FUZZ_SOURCES_policies := agent/relay/policy.c agent/relay/policy_file.c agent/relay/sealed.c
FUZZ_SOURCES_image := $(addprefix agent/relay/,health.c image.c lb.c loop.c routes.c seats.c target.c turns.c)
FUZZ_SOURCES_relay := $(addprefix agent/relay/,buf.c conn.c events.c greet.c health.c hello.c image.c judging.c kmem.c lb.c life.c loop.c moving.c netns.c peer.c \
	pipe.c policy.c report.c routes.c seats.c slab.c stream_plain.c target.c tcp.c turns.c upstream.c wishes.c flow.c)
FUZZ_LIBS_relay := -Wl,--wrap=recv

define fuzzer
$(FUZZ_OUT)/$(1): tests/fuzz/$(1).c $(FUZZ_SOURCES_$(1)) $(FUZZ_HEADERS) tests/fuzz/build.mk
	@mkdir -p $$(@D)
	$(FUZZ_CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer,address,undefined -o $$@ $$(filter %.c,$$^) $(FUZZ_LIBS_$(1))

$(FUZZ_OUT)/replay/$(1): tests/fuzz/$(1).c tests/fuzz/replay.c $(FUZZ_SOURCES_$(1)) $(FUZZ_HEADERS) tests/fuzz/build.mk
	@mkdir -p $$(@D)
	$(CC) $(FUZZ_CFLAGS) -fsanitize=address,undefined -o $$@ $$(filter %.c,$$^) $(FUZZ_LIBS_$(1))
endef
$(foreach name,$(FUZZ_ALL),$(eval $(call fuzzer,$(name))))
BUILD_TARGETS += $(FUZZ_ALL:%=$(FUZZ_OUT)/replay/%)

# What libFuzzer learns stays in build/fuzz/<name>.corpus; the seeds are only read. Every target runs, whatever another
# found. A finding is the file build/fuzz/<name>.crash-...; add it to tests/fuzz/corpus/<name>/ with the fix.
.PHONY: fuzz
fuzz: $(FUZZERS:%=$(FUZZ_OUT)/%) ## libFuzzer for SECONDS (30) on each of FUZZERS, one after the other
	@failed=; for name in $(FUZZERS); do \
	  mkdir -p $(FUZZ_OUT)/$$name.corpus; \
	  dictionary=tests/fuzz/$$name.dict; [ -e $$dictionary ] && dictionary=-dict=$$dictionary || dictionary=; \
	  echo "== $$name: $(SECONDS) s"; \
	  nice -n 10 $(FUZZ_OUT)/$$name -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=4096 -verbosity=0 \
	    -print_final_stats=1 -close_fd_mask=1 -artifact_prefix=$(FUZZ_OUT)/$$name. $$dictionary \
	    $(FUZZ_OUT)/$$name.corpus tests/fuzz/corpus/$$name 2>&1 | tee $(FUZZ_OUT)/$$name.log | \
	    grep -vE '# Uses|ecommended dictionary|NEW_FUNC|^INFO|stat::(average|new_units|slowest)' || failed="$$failed $$name"; \
	done; \
	[ -z "$$failed" ] || { echo "fuzz: findings in$$failed; see $(FUZZ_OUT)/*.log" >&2; exit 1; }
