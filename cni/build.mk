# The CNI plugin: one static binary, because a node may have no Python, no shell and another C library.
CNI_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wconversion -Wshadow -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CNI_PLUGIN := $(BUILD)/cni/tidegate
BUILD_TARGETS += $(CNI_PLUGIN)

$(CNI_PLUGIN): $(sort $(wildcard cni/*.c)) $(wildcard cni/*.h) cni/build.mk | $(BUILD)/.debian
	@mkdir -p $(@D)
	$(CC) $(CNI_CFLAGS) -static -o $@.new $(filter %.c,$^) -ljansson
	@mv $@.new $@
