# tests/bpf on kernels of Debian in a virtual machine: slow without KVM, so it is no part of `make test`.
KERNELS ?=

$(BUILD)/.qemu: tests/kernels/build.mk
	@mkdir -p $(BUILD)
	@command -v qemu-system-x86_64 > /dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "test-kernels: missing Debian package: qemu-system-x86 - run make as root, or: apt-get install qemu-system-x86" >&2; exit 4; }; \
	  echo "test-kernels: installing qemu-system-x86"; \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends qemu-system-x86; } \
	    > $(BUILD)/apt-qemu.log 2>&1 || { tail -20 $(BUILD)/apt-qemu.log >&2; exit 1; }; \
	}
	@touch $@

test-kernels: setup $(BUILD)/.qemu ## tests/bpf on other kernels, in QEMU (KERNELS="debian-12" picks from tests/kernels/kernels.toml)
	$(PY) -m tests.kernels $(KERNELS)
