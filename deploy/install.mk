# A self-contained directory for a node: the distribution's python3, our packages, BPF objects, plugin and Envoy.
# A venv holds absolute paths, so the packages go beside each other instead and a script of two lines finds them.
PREFIX ?= /opt/tidegate
DESTDIR ?=
UNITDIR ?= /etc/systemd/system
ROOT = $(DESTDIR)$(PREFIX)

.PHONY: install uninstall
install: setup ## a node's directory: DESTDIR= PREFIX=/opt/tidegate, and the systemd unit
	@rm -rf $(ROOT)/lib.new && mkdir -p $(ROOT)/bin $(ROOT)/lib.new $(DESTDIR)$(UNITDIR)
	@$(PY) deploy/runtime_lock.py > $(BUILD)/runtime.lock
	@$(PY) -m pip install -q --no-compile --no-deps --require-hashes --target $(ROOT)/lib.new/python -r $(BUILD)/runtime.lock
	@cp -R agent/tidegate $(ROOT)/lib.new/python/ && find $(ROOT)/lib.new -name __pycache__ -prune -exec rm -rf {} +
	@# Agents compile no sources at their start. By content and not by time, which an image or an archive may set anew.
	@$(PYTHON) -m compileall -q --invalidation-mode checked-hash -s $(ROOT)/lib.new -p $(PREFIX)/lib $(ROOT)/lib.new/python
	@install -D -m 644 -t $(ROOT)/lib.new/build/bpf $(BPF_OUT)/*.bpf.o
	@install -D -m 755 -t $(ROOT)/lib.new/build/cni $(CNI_PLUGIN)
	@cmp -s $(FP_BINARY) $(ROOT)/bin/tidegate-relay || { install -m 755 $(FP_BINARY) $(ROOT)/bin/tidegate-relay.new && mv $(ROOT)/bin/tidegate-relay.new $(ROOT)/bin/tidegate-relay; }
	@# An Envoy that is the same keeps its inode: the next agent goes on with the one that runs (envoy/supervisor.py).
	@cmp -s $(ENVOY) $(ROOT)/bin/envoy || { install -m 755 $(ENVOY) $(ROOT)/bin/envoy.new && mv $(ROOT)/bin/envoy.new $(ROOT)/bin/envoy; }
	@printf '#!/bin/sh\nexport TIDEGATE_BUILD=%s/lib/build TIDEGATE_ENVOY="$${TIDEGATE_ENVOY:-%s/bin/envoy}" TIDEGATE_RELAY="$${TIDEGATE_RELAY:-%s/bin/tidegate-relay}" PYTHONPATH=%s/lib/python\nexec $(PYTHON) -m tidegate "$$@"\n' \
	  $(PREFIX) $(PREFIX) $(PREFIX) $(PREFIX) > $(ROOT)/bin/tidegate.new && chmod 755 $(ROOT)/bin/tidegate.new && mv $(ROOT)/bin/tidegate.new $(ROOT)/bin/tidegate
	@rm -rf $(ROOT)/lib.old; [ ! -e $(ROOT)/lib ] || mv $(ROOT)/lib $(ROOT)/lib.old; mv $(ROOT)/lib.new $(ROOT)/lib; rm -rf $(ROOT)/lib.old
	@sed 's|/opt/tidegate|$(PREFIX)|g' deploy/systemd/tidegate.service > $(DESTDIR)$(UNITDIR)/tidegate.service
	@echo "install: $(ROOT) and $(DESTDIR)$(UNITDIR)/tidegate.service"

uninstall: ## remove what `make install` put there; see deploy/README.md for what to do before
	rm -rf $(ROOT) $(DESTDIR)$(UNITDIR)/tidegate.service
