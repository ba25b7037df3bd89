#!/bin/bash
# Makes a Debian 12 machine with the checkout in $CHECKOUT into a running lab. Safe to run again: what is there is kept,
# the lab is started anew. Run by Vagrant as root; may be run by hand with the same variables.
set -euo pipefail
: "${CHECKOUT:?where the checkout is}"
: "${PAGE_PORT:?port of productpage on the loopback}" "${PAGE_FORWARDED:?port of productpage for others}"
: "${DASHBOARD_PORT:?port of the dashboard on the loopback}" "${DASHBOARD_FORWARDED:?port of the dashboard for others}"
cd "$CHECKOUT"

if ! command -v make > /dev/null; then
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends make
fi
make setup
ln -sf "$CHECKOUT/.venv/bin/tidegate" /usr/local/bin/tidegate

# The lab ends with the machine, so a unit starts it at boot as well.
cat > /etc/systemd/system/tidegate-lab.service <<UNIT
[Unit]
Description=Tidegate lab with bookinfo
After=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory=$CHECKOUT
ExecStart=$CHECKOUT/vagrant/lab.sh $PAGE_PORT $DASHBOARD_PORT
# labd runs in this unit's cgroup and stops on SIGTERM. ExecStop would not be run for a start that was interrupted, as
# by a provisioning while the machine boots, or that failed.
ExecStopPost=$CHECKOUT/.venv/bin/tidegate lab down
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
UNIT

# Forwarded ports reach the machine's outer address, the lab's are on its loopback. systemd refuses to start a socket
# while its service runs: Requires hands a restart of the socket on to the service.
forward() { # UNIT "what it is" OUTER_PORT LOOPBACK_PORT
	cat > "/etc/systemd/system/$1.socket" <<-UNIT
		[Unit]
		Description=$2 for those outside

		[Socket]
		ListenStream=0.0.0.0:$3

		[Install]
		WantedBy=sockets.target
	UNIT
	cat > "/etc/systemd/system/$1.service" <<-UNIT
		[Unit]
		Description=$2 for those outside
		Requires=$1.socket
		After=$1.socket

		[Service]
		ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:$4
	UNIT
}
forward tidegate-page productpage "$PAGE_FORWARDED" "$PAGE_PORT"
forward tidegate-dashboard "the node's dashboard" "$DASHBOARD_FORWARDED" "$DASHBOARD_PORT"

systemctl daemon-reload
systemctl enable -q tidegate-lab.service tidegate-page.socket tidegate-dashboard.socket
systemctl restart tidegate-page.socket tidegate-dashboard.socket
systemctl restart tidegate-lab.service || { journalctl -u tidegate-lab.service -n 40 --no-pager >&2; exit 1; }
for page in "$PAGE_FORWARDED/productpage" "$DASHBOARD_FORWARDED/"; do
	curl -sS --fail --retry 5 --retry-connrefused --max-time 30 -o /dev/null "http://127.0.0.1:$page"
done
echo "provision: the lab is up; productpage answers on port $PAGE_FORWARDED, the dashboard on $DASHBOARD_FORWARDED"
