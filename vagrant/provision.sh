#!/bin/bash
# Makes a Debian 12 machine with the checkout in $CHECKOUT into a running lab. Safe to run again: what is there is kept,
# the lab is started anew. Run by Vagrant as root; may be run by hand with the same three variables.
set -euo pipefail
: "${CHECKOUT:?where the checkout is}" "${PAGE_PORT:?port of productpage on the loopback}" "${FORWARDED_PORT:?port that others reach}"
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
ExecStart=$CHECKOUT/vagrant/lab.sh $PAGE_PORT
ExecStop=$CHECKOUT/.venv/bin/tidegate lab down
# The lab's processes are in cgroups of their own; lab down ends them.
KillMode=process
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
UNIT
# Forwarded ports reach the machine's outer address, the lab's are on its loopback.
cat > /etc/systemd/system/tidegate-page.socket <<UNIT
[Unit]
Description=productpage for those outside

[Socket]
ListenStream=0.0.0.0:$FORWARDED_PORT

[Install]
WantedBy=sockets.target
UNIT
cat > /etc/systemd/system/tidegate-page.service <<UNIT
[Unit]
Description=productpage for those outside

[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:$PAGE_PORT
UNIT
systemctl daemon-reload
systemctl enable -q tidegate-lab.service tidegate-page.socket
systemctl restart tidegate-page.socket
systemctl restart tidegate-lab.service || { journalctl -u tidegate-lab.service -n 40 --no-pager >&2; exit 1; }
curl -sS --fail --retry 5 --retry-connrefused --max-time 30 -o /dev/null "http://127.0.0.1:$FORWARDED_PORT/productpage"
echo "provision: the lab is up and productpage answers on port $FORWARDED_PORT"
