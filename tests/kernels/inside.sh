#!/bin/sh
# Second half of the guest's init, in the host's tree: run command $2 in directory $1, leave its status, power off.
cd "$1" && /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/tmp TMPDIR=/run/tmp \
	PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 /bin/sh -c "$2"
echo $? >/run/results/status
# Zero unless a WARN, an oops or the like was seen: then the kernel's log is worth more than the tests.
cat /proc/sys/kernel/tainted >/run/results/tainted
grep -q '^0$' /run/results/tainted || dmesg
sync
echo o >/proc/sysrq-trigger
exec sleep infinity
