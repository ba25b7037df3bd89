# The README's commands on a bare Debian 12: three quarters of an hour, so it is no part of `make test`. COMMANDS: others in
# their place, each in quotes of its own and after the seconds that it may take.
.PHONY: test-bare
COMMANDS ?=
test-bare: ## both commands of README, twice, on a bare Debian 12 made for it (COMMANDS='"600 make run ONCE=1" "9000 make test"': these)
	@mkdir -p $(BUILD)
	@command -v debootstrap > /dev/null || { \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap; \
	} > $(BUILD)/apt-bare.log 2>&1 || { tail -20 $(BUILD)/apt-bare.log >&2; exit 1; }
	bash tests/bare/run.sh $(BUILD)/bare $(COMMANDS)
