#!/bin/busybox sh
# Init of the guest. The runner adds ROOT (the repository) and COMMAND (what to run there) as files beside it.
# The host's tree becomes the root file system, read-only; /run and /dev/shm are the guest's own memory.
export PATH=/bin
busybox mkdir -p /proc /dev /host
busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in /modules/*; do
	busybox insmod "$module" || { echo "insmod $module failed"; exec busybox poweroff -f; }
done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host &&
	busybox mount -t proc proc /host/proc &&
	busybox mount -t sysfs sysfs /host/sys &&
	busybox mount -t devtmpfs dev /host/dev &&
	busybox mount -t tmpfs run /host/run &&
	busybox mkdir -p /host/dev/shm /host/dev/pts /host/run/tmp /host/run/results &&
	busybox mount -t tmpfs shm /host/dev/shm &&
	busybox mount -t devpts pts /host/dev/pts &&
	busybox mount -t cgroup2 cgroup2 /host/sys/fs/cgroup &&
	busybox mount -t 9p -o trans=virtio,version=9p2000.L results /host/run/results &&
	busybox ip link set lo up &&
	busybox uname -rv >/host/run/results/kernel ||
	exec busybox poweroff -f
# As systemd does; the kernel's own hard limit is 4096.
ulimit -H -n 524288
# Not chroot: whoever enters a pod's mount namespace (nsenter) gets that namespace's root, which then must be this tree.
root=$(busybox cat /ROOT)
exec busybox switch_root /host /bin/sh "$root/tests/kernels/inside.sh" "$root" "$(busybox cat /COMMAND)"
