# Kernel objects (build/bpf/*.bpf.o), the test objects (build/bpf/test/*.t.bpf.o) and the extension tidegate._bpf.
BPF_OUT := $(BUILD)/bpf
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_TESTS := $(wildcard tests/bpf/*.t.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.c=$(BPF_OUT)/%.o) $(BPF_TESTS:tests/bpf/%.c=$(BPF_OUT)/test/%.o)
BPF_EXTENSION := agent/tidegate/_bpf.abi3.so
BUILD_TARGETS += $(BPF_OBJECTS) $(BPF_EXTENSION)

# -mcpu=v3 needs Linux 5.12 (32-bit jumps, atomics). The multiarch directory holds asm/types.h for linux/bpf.h.
# Expanded when it is used: on a bare machine the compiler comes with `make setup` itself.
BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -MMD -MP \
	-I/usr/include/$(shell $(CC) -print-multiarch)

$(BPF_OUT)/%.bpf.o: bpf/%.bpf.c bpf/build.mk
	@mkdir -p $(@D)
	clang $(BPF_CFLAGS) -c $< -o $@

$(BPF_OUT)/test/%.bpf.o: tests/bpf/%.bpf.c bpf/build.mk
	@mkdir -p $(@D)
	clang $(BPF_CFLAGS) -c $< -o $@

.PHONY: bpf-objects
bpf-objects: $(BPF_OBJECTS)

-include $(BPF_OBJECTS:.o=.d)

BPF_HEADERS := $(wildcard bpf/include/*.h bpf/core/*.h) agent/native/tgb.h
$(BPF_OUT)/_bpf.c: agent/native/ffi_build.py $(BPF_HEADERS) $(wildcard $(VENV)/.python)
	@mkdir -p $(@D)
	$(PY) agent/native/ffi_build.py $@

$(BPF_OUT)/%.o: agent/native/%.c $(BPF_HEADERS)
	@mkdir -p $(@D)
	$(CC) -O2 -g -fPIC -std=gnu11 -Wall -Wextra -Werror -c $< -o $@

# cffi's C is not ours to keep free of warnings.
$(BPF_EXTENSION): $(BPF_OUT)/_bpf.c $(patsubst agent/native/%.c,$(BPF_OUT)/%.o,$(wildcard agent/native/*.c))
	$(CC) -O2 -g -fPIC -shared -w $$($(PYTHON)-config --includes) -DPy_LIMITED_API=0x030b0000 $^ -lbpf -o $@

.PHONY: verifier-cost
verifier-cost: build ## rewrite tests/bpf/verifier_cost.json: what programs cost this kernel's verifier, and what test-kernels saw
	$(PY) -m tests.bpf.verifier_cost --write
