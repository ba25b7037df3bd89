#!/bin/sh
# node.sh NAME FOLDER: makes the machine of a node out of namespaces that are its own, says `ready` and holds them. Run by
# `unshare`, from the cgroup that is to be the node's root. FOLDER keeps what a machine's disk keeps over a restart.
#
# The machine's file system is the node's, with what is written to /etc, /opt, /var/lib and /var/log on top of it in FOLDER,
# so the node's CNI directories begin empty and nothing is written to the machine.
set -eu
name=$1 folder=$2

# Private before remounting, or the machine's mounts change; then a group of its own that pods' mounts may come from.
mount --make-rprivate /
mount --make-rshared /
umount -R /sys/fs/cgroup
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf

for tree in etc opt var/lib var/log; do
  mkdir -p "$folder/$tree/upper" "$folder/$tree/work"
  mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$folder/$tree/upper,workdir=$folder/$tree/work" "/$tree"
done
if [ ! -e "$folder/installed" ]; then
  rm -rf /etc/cni /opt/cni /etc/kubernetes /var/lib/cni /var/lib/kubelet /var/lib/containerd /var/log/pods /var/log/containers
  mkdir -p /etc/cni/net.d /opt/cni/bin
  for plugin in bandwidth bridge host-local loopback portmap ptp; do
    cp "/usr/lib/cni/$plugin" /opt/cni/bin/
  done
  tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
  touch "$folder/installed"
fi
# A runtime's layers cannot lie on an overlay, and kubelet wants to know the disk that its files are on.
for place in var/lib/containerd var/lib/kubelet var/log/pods; do
  mkdir -p "$folder/plain/$place" "/$place"
  mount --bind "$folder/plain/$place" "/$place"
done
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /run/sysctl

# kubelet sets these for the whole machine and does not start where it may not. It is content with those that hold what it
# wants, and writes nothing.
while read -r key value; do
  echo "$value" > "/run/sysctl/$(basename "$key")"
  [ ! -e "/proc/sys/$key" ] || mount --bind "/run/sysctl/$(basename "$key")" "/proc/sys/$key"
done <<EOF
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF

hostname "$name"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
mkdir -p /sys/fs/cgroup/daemons/init
echo 0 > /sys/fs/cgroup/daemons/init/cgroup.procs
echo ready
exec > /dev/null 2>&1
# The first process of a PID namespace gets the orphans of all others; with SIGCHLD ignored the kernel buries them.
exec env --ignore-signal=CHLD sleep infinity
