# The relay's process, and its layouts for Python as a cffi extension (tidegate._relay).
FP_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wconversion -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong \
	-fPIE -pthread -fvisibility=hidden
FP_SOURCES := $(sort $(wildcard agent/relay/*.c))
# Without main(): what tests and fuzzers link.
FP_ENGINE := $(filter-out agent/relay/main.c,$(FP_SOURCES))
FP_HEADERS := $(wildcard agent/relay/*.h) bpf/include/tg_abi.h bpf/include/tg_abi_prelude.h bpf/include/tg_capture.h
FP_OBJECTS := $(FP_SOURCES:agent/relay/%.c=$(BUILD)/relay/%.o)
FP_BINARY := $(BUILD)/relay/tidegate-relay
FP_EXTENSION := agent/tidegate/_relay.abi3.so
BUILD_TARGETS += $(FP_BINARY) $(FP_EXTENSION)

$(BUILD)/relay/%.o: agent/relay/%.c $(FP_HEADERS) agent/relay/build.mk
	@mkdir -p $(@D)
	@$(CC) $(FP_CFLAGS) -c -o $@ $<

# Moved into place: a relay that runs keeps its file.
$(FP_BINARY): $(FP_OBJECTS)
	@echo "build: $@"
	@$(CC) $(FP_CFLAGS) -pie -Wl,-z,relro,-z,now -o $@.new $^ && mv $@.new $@

$(FP_EXTENSION): agent/relay/ffi_build.py agent/relay/relay_abi.h agent/relay/fp_reason.h agent/relay/reason.c bpf/include/tg_abi.h | $(VENV)/.python
	@echo "build: $@"
	@mkdir -p $(BUILD)/relay
	@$(PY) agent/relay/ffi_build.py --cc "$(CC)" --build $(BUILD)/relay --output $@ agent/relay/reason.c
