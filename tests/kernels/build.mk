# Suites on kernels of Debian in a virtual machine: slow without KVM, so it is no part of `make test`.
KERNELS ?=
QEMU_PACKAGE := qemu-system-x86

.PHONY: qemu
qemu:
	@mkdir -p $(BUILD)
	@command -v qemu-system-x86_64 > /dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "test-kernels: missing Debian package: $(QEMU_PACKAGE) - run make as root, or: apt-get install $(QEMU_PACKAGE)" >&2; exit 4; }; \
	  echo "test-kernels: installing $(QEMU_PACKAGE)"; \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(QEMU_PACKAGE); } \
	    > $(BUILD)/apt-qemu.log 2>&1 || { tail -20 $(BUILD)/apt-qemu.log >&2; exit 1; }; \
	}

test-kernels: setup qemu ## bpf, fast path, tour, stories on other kernels, in QEMU (KERNELS="debian-12 --suite tour" picks from tests/kernels/kernels.toml)
	$(PY) -m tests.kernels $(KERNELS)
