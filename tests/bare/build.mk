# The README's commands on a bare Debian 12: twenty minutes, so it is no part of `make test`.
.PHONY: test-bare
test-bare: ## both commands of README, twice, on a bare Debian 12 made for it
	@mkdir -p $(BUILD)
	@command -v debootstrap > /dev/null || { \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap; \
	} > $(BUILD)/apt-bare.log 2>&1 || { tail -20 $(BUILD)/apt-bare.log >&2; exit 1; }
	bash tests/bare/run.sh $(BUILD)/bare
