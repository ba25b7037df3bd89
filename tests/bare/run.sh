#!/usr/bin/env bash
# What README promises a new user, on a Debian 12 that has nothing but make, git and certificates: both commands, twice.
#
#   run.sh DIRECTORY ['SECONDS COMMAND'...]     DIRECTORY takes the bare system; it is made anew and removed at the end.
#
# What each printed is in DIRECTORY.1.log and so on. Commands go on after one that failed, as root in a clone of this
# checkout's last commit:
#
#   make test-bare COMMANDS='"600 make run ONCE=1" "9000 make test"'
#
# Packages come from where this machine gets its own. Exit 0 when every command exited 0 within its time.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
root=$1
shift
# seconds allowed, command: the promises of README and of the interface.
[ $# -gt 0 ] || set -- '600 make run ONCE=1' '60 make run ONCE=1' '2700 make test' '2700 make test' '60 make run ONCE=1'

say() { echo "bare: $*"; }
trap 'rm -rf "$root"' EXIT
rm -rf "$root"
mkdir -p "$root"
root=$(cd "$root" && pwd)
say "Debian 12 into $(basename "$root")"
debootstrap --variant=minbase --include=make,git,ca-certificates bookworm "$root" > "$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root/etc/apt/sources.list"
for path in apt/sources.list apt/sources.list.d apt/apt.conf.d apt/trusted.gpg.d resolv.conf hosts ssl/certs pip.conf; do
  if [ -d "/etc/$path" ]; then
    cp -rL "/etc/$path/." "$root/etc/$path/" 2>> "$root.log" || true
  elif [ -e "/etc/$path" ]; then
    cp -L "/etc/$path" "$root/etc/$path"
  fi
done
git clone -q "$here" "$root/root/tidegate"

failed=0 number=0
for line in "$@"; do
  limit=${line%% *} command=${line#* } number=$((number + 1))
  log=$root.$number.log
  start=$(date +%s)
  code=0
  timeout "$limit" unshare --mount bash "$here/tests/bare/enter.sh" "$root" "$command" > "$log" 2>&1 < /dev/null || code=$?
  say "$command: exit $code after $(($(date +%s) - start)) s of $limit; $(tail -1 "$log")"
  [ "$code" = 0 ] || { failed=$((failed + 1)); tail -30 "$log" >&2; }
done
say "$((number - failed)) passed, $failed failed"
[ "$failed" = 0 ]
