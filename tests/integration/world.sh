#!/bin/sh
# The inside of a test world: its mounts, its cgroup file systems, its network. See world.py.
set -e

# Every cgroup hierarchy is mounted again, so that its root is this world's own cgroup.
hierarchies=$(awk '{
  for (i = 7; $i != "-"; i++);
  if ($(i + 1) !~ /^cgroup2?$/) next
  only = ""
  if ($(i + 1) == "cgroup") {
    count = split($NF, given, ",")
    for (i = 1; i <= count; i++)
      if (given[i] !~ /^(rw|ro|xattr|clone_children|release_agent=.*)$/) only = only (only == "" ? "" : ",") given[i]
    print $5, "cgroup", (only ~ /^name=/ ? "none," : "") only
  } else print $5, "cgroup2"
}' /proc/self/mountinfo | sort)
mount -t proc proc /proc
mount -t sysfs sysfs /sys
if ! echo "$hierarchies" | grep -q '^/sys/fs/cgroup cgroup2'; then
  mount -t tmpfs -o mode=0755 tmpfs /sys/fs/cgroup
fi
echo "$hierarchies" | while read -r where kind only; do
  [ -d "$where" ] || mkdir -p "$where"
  mount -t "$kind" ${only:+-o "$only"} "$kind" "$where"
done

# What is written to these goes to memory; what is there stays readable.
mount -t tmpfs -o mode=0755 tmpfs /run
stage=/run/.world
mkdir -m 0700 $stage
for pair in /etc:_etc /usr/local:_usr_local /var/lib:_var_lib /var/log:_var_log; do
  dir=${pair%:*} layers=$stage/${pair#*:}
  mkdir -p "$layers/upper" "$layers/lower" "$layers/work"
  mount --bind "$dir" "$layers/lower"
  mount -t overlay overlay -o "lowerdir=$dir,upperdir=$layers/upper,workdir=$layers/work" "$dir"
done
mkdir -p /var/lib/isolation
mount -t tmpfs -o mode=0755 tmpfs /var/lib/isolation
rm -rf /etc/service /etc/isolation
mkdir -p /etc/service /run/netns /run/lock

# A group's number below 65 is a signal to kill(1) of procps: "kill -s KILL -- -42" kills nothing.
if [ -e /proc/sys/kernel/ns_last_pid ]; then
  echo 300 >/proc/sys/kernel/ns_last_pid
else
  for _ in $(seq 100); do (:); done
fi

hostname world
# Its own name needs no name server, and there is none.
printf '%s\n' '127.0.0.1 localhost world' '::1 localhost' >/etc/hosts
sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
for name in lan client attacker; do
  ip netns add $name
done
ip -batch - <<END
link set lo up
link add lan0 type veth peer name host netns lan
link add eth0 netns client type veth peer name client netns lan
link add eth0 netns attacker type veth peer name attacker netns lan
END
# A bridge's ports learn at once that their peers have come up, other links up to a second later: ports first.
ip -n lan -batch - <<END
link add br0 type bridge
link set br0 up
link set host master br0 up
link set client master br0 up
link set attacker master br0 up
END
ip -batch - <<END
link set lan0 up
addr add 198.51.100.1/24 dev lan0
addr add 2001:db8:1::1/64 dev lan0 nodad
END
# The attacker and the client know a way to the services' subnets: through the host.
number=2
for name in client attacker; do
  ip -n $name -batch - <<END
link set lo up
link set eth0 up
addr add 198.51.100.$number/24 dev eth0
addr add 2001:db8:1::$number/64 dev eth0 nodad
route add default via 198.51.100.1
route add ::/0 via 2001:db8:1::1
END
  number=$((number + 1))
done
# The host's own way out, so that addresses which are not on a link have a route.
ip -batch - <<END
route add default via 198.51.100.2
route add ::/0 via 2001:db8:1::2
END

# Link-local addresses come by themselves: a snapshot is only stable once they are there and checked. A line has the
# address, the link's number, the prefix's length, scope (20: link), flags (40: tentative) and the link's name.
settled() {
  there=1
  while read -r _ _ _ scope flags link; do
    case $flags in [4567cdef]?) return 1 ;; esac
    [ "$scope $link" != "20 lan0" ] || there=0
  done </proc/self/net/if_inet6
  return $there
}
until settled; do
  sleep 0.02
done

echo ready
# It reaps what ends without a parent, as a host's first process does.
exec catatonit -P
