#!/usr/bin/env bash
# cell.sh COMMAND...: COMMAND with mounts, network, processes and control groups of its own, so that two suites that make
# labs of the same names never meet. Kernel, files and CPUs are the machine's. Exit code is COMMAND's.
#
# A cell sees itself as the root of the cgroup2 tree and has an empty /run and a BPF file system of its own; what COMMAND
# leaves running or mounted ends with the cell, so its suites have to look for themselves whether they left something.
set -eu
tree=$(awk '$0 ~ / - cgroup2 /{print $5; exit}' /proc/self/mountinfo)
own=$tree/tidegate-cell-$$
mkdir "$own"
# The kernel frees a group a moment after its last process has ended.
trap 'for _ in $(seq 100); do find "$own" -depth -type d -exec rmdir {} + 2> /dev/null; [ -d "$own" ] || exit; sleep 0.1; done; echo "cell: $own stays" >&2' EXIT
# unshare does not hear a softer signal, and its child ends with it.
trap 'kill -KILL "$inside" 2> /dev/null' TERM INT
bash -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$own" \
  unshare --mount --net --pid --cgroup --fork --mount-proc --kill-child=KILL bash -c '
    set -eu
    tree=$1
    shift
    umount "$tree"
    mount -t cgroup2 cgroup2 "$tree"
    if mountpoint -q /sys/fs/bpf; then umount /sys/fs/bpf; fi
    mount -t bpf bpf /sys/fs/bpf
    mount -t tmpfs -o mode=755 run /run
    ip link set lo up
    # Not exec: the first process of a PID namespace has no default action for signals.
    "$@" || exit $?' cell "$tree" "$@" &
inside=$!
code=0
wait "$inside" || code=$?
# A signal ends the wait, not what was waited for.
wait "$inside" 2> /dev/null || true
exit "$code"
