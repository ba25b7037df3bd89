#!/usr/bin/env bash
# enter.sh ROOT COMMAND: COMMAND in ROOT as the root of a mount namespace of its own; run by `unshare --mount`.
#
# pivot_root and not chroot: the lab makes mount namespaces for its pods, and in a chroot those would show the machine
# outside. /run is empty and mounts are shared, as on a machine that has just booted. Network, processes and kernel are
# the machine's.
set -eu
root=$1 command=$2
mount --make-rprivate /
mount --bind "$root" "$root"
for tree in proc sys dev; do
  mount --rbind "/$tree" "$root/$tree"
done
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l /old
mount --make-rshared /
certificates=/etc/ssl/certs/ca-certificates.crt
exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  SSL_CERT_FILE=$certificates PIP_CERT=$certificates bash -c "cd /root/tidegate && $command"
