# More rights than uid 1000 without any capability. Prints "<what>: none" for each that is refused, else "GOT IT".
say() { echo "$1: $2"; }
refused() {
  local what=$1
  shift
  if ("$@") >/dev/null 2>&1 </dev/null; then say "$what" 'GOT IT'; else say "$what" none; fi
}
put() { printf '%s' "$2" >"$1"; }

say user "$(id -u):$(id -g)"
while read -r name value; do
  case $name in CapInh: | CapPrm: | CapEff: | CapBnd: | CapAmb:) [ "$((16#$value))" = 0 ] && say "$name" none || say "$name" "GOT $value" ;; esac
  case $name in NoNewPrivs: | Seccomp:) say "$name" "$value" ;; esac
done </proc/self/status
cp "$(command -v bash)" /workspace/shell && chmod 4755 /workspace/shell
say 'a setuid program of its own' "$(/workspace/shell -p -c 'id -u')"
for program in $(find / -xdev -perm /6000 -type f 2>/dev/null); do
  case $program in
    */su) refused "$program" timeout 3 "$program" root -c id ;;
    *) refused "$program to root" timeout 3 "$program" -p -c 'test "$(id -u)" = 0' ;;
  esac
done
refused 'mount a tmpfs' mount -t tmpfs none /workspace
refused 'mount proc' mount -t proc proc /workspace
refused 'bind / over its workspace' mount --bind / /workspace
refused 'make / writable' mount -o remount,rw /
refused 'make its config writable' mount -o remount,rw,bind /opencode/config
refused 'unmount its config' umount /opencode/config
refused 'a user namespace' unshare --user --map-root-user id
refused 'a mount namespace' unshare --mount id
refused 'a network namespace' unshare --net id
refused 'the namespaces of init' nsenter --target 1 --mount --net --pid id
refused 'chroot' chroot / id
refused 'a device' mknod /workspace/disk b 8 0
refused 'become root' setpriv --reuid 0 id
refused 'the hostname' hostname planted
refused 'an address' ip addr add 10.213.9.9/24 dev eth0
refused 'a route' ip route add default via 10.213.0.1
refused 'the clock' date -s 2000-01-01
refused 'core_pattern' put /proc/sys/kernel/core_pattern '|/workspace/shell'
refused 'forwarding' put /proc/sys/net/ipv4/ip_forward 1
refused 'ipv6' put /proc/sys/net/ipv6/conf/all/disable_ipv6 0
refused 'sysrq' put /proc/sysrq-trigger b
refused 'kernel memory' head -c 1 /proc/kcore
refused 'kernel log' head -c 1 /dev/kmsg
refused 'a larger limit of processes' put "$(find /sys/fs/cgroup -name pids.max 2>/dev/null | head -1)" max
refused 'a larger limit of memory' put "$(find /sys/fs/cgroup -name 'memory.*limit_in_bytes' -o -name memory.max 2>/dev/null | head -1)" 99999999999
refused 'a release agent' put "$(find /sys/fs/cgroup -name release_agent 2>/dev/null | head -1)" /workspace/shell
refused 'a lower oom score' put /proc/self/oom_score_adj -1000
