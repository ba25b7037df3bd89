# The C engine as a cffi extension (tidegate._fastpath).
FP_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wconversion -D_GNU_SOURCE -pthread -fvisibility=hidden
FP_SOURCES := $(sort $(wildcard agent/relay/*.c))
FP_HEADERS := $(wildcard agent/relay/*.h) bpf/include/tg_abi.h bpf/include/tg_abi_prelude.h bpf/include/tg_capture.h
FP_OBJECTS := $(FP_SOURCES:agent/relay/%.c=$(BUILD)/fastpath/%.o)
FP_EXTENSION := agent/tidegate/_fastpath.abi3.so
BUILD_TARGETS += $(FP_EXTENSION)

$(BUILD)/fastpath/%.o: agent/relay/%.c $(FP_HEADERS) agent/relay/build.mk
	@mkdir -p $(@D)
	@$(CC) $(FP_CFLAGS) -fPIC -c -o $@ $<

$(FP_EXTENSION): agent/relay/ffi_build.py $(FP_OBJECTS) | $(VENV)/.python
	@echo "build: $@"
	@$(PY) agent/relay/ffi_build.py --cc "$(CC)" --build $(BUILD)/fastpath --output $@ $(FP_OBJECTS)
