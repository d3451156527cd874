#!/bin/sh
# The inside of a test world: its mounts, its cgroup file systems, its network. See world.py.
set -e

# Every cgroup hierarchy is mounted again, so that its root is this world's own cgroup.
hierarchies=$(awk '{ for (i = 7; i <= NF; i++) if ($i == "-") { print $5, $(i + 1), $NF; break } }' /proc/self/mountinfo |
  awk '$2 == "cgroup" || $2 == "cgroup2"' | sort)
mount -t proc proc /proc
mount -t sysfs sysfs /sys
if ! echo "$hierarchies" | grep -q '^/sys/fs/cgroup cgroup2'; then
  mount -t tmpfs -o mode=0755 tmpfs /sys/fs/cgroup
fi
echo "$hierarchies" | while read -r where kind options; do
  mkdir -p "$where"
  if [ "$kind" = cgroup2 ]; then
    mount -t cgroup2 cgroup2 "$where"
  else
    only=$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|xattr|clone_children|release_agent=.*)$' | paste -sd, -)
    case $only in name=*) only=none,$only ;; esac
    mount -t cgroup -o "$only" cgroup "$where"
  fi
done

# What is written to these goes to memory; what is there stays readable.
mount -t tmpfs -o mode=0755 tmpfs /run
stage=/run/.world
mkdir -m 0700 $stage
for dir in /etc /usr/local /var/lib /var/log; do
  name=$(echo "$dir" | tr / _)
  mkdir -p "$stage/$name/upper" "$stage/$name/lower" "$stage/$name/work"
  mount --bind "$dir" "$stage/$name/lower"
  mount -t overlay overlay -o "lowerdir=$dir,upperdir=$stage/$name/upper,workdir=$stage/$name/work" "$dir"
done
mkdir -p /var/lib/isolation
mount -t tmpfs -o mode=0755 tmpfs /var/lib/isolation
rm -rf /etc/service /etc/isolation
mkdir -p /etc/service /run/netns /run/lock

hostname world
# Its own name needs no name server, and there is none.
printf '%s\n' '127.0.0.1 localhost world' '::1 localhost' >/etc/hosts
sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
ip link set lo up
ip netns add lan
ip -n lan link add br0 type bridge
ip -n lan link set br0 up
number=1
for name in host client attacker; do
  if [ $name = host ]; then
    ip link add lan0 type veth peer name host netns lan
    at="ip"
    dev=lan0
  else
    ip netns add $name
    at="ip -n $name"
    dev=eth0
    ip link add eth0 netns $name type veth peer name $name netns lan
    $at link set lo up
  fi
  ip -n lan link set $name master br0 up
  $at link set $dev up
  $at addr add 198.51.100.$number/24 dev $dev
  $at addr add 2001:db8:1::$number/64 dev $dev nodad
  number=$((number + 1))
done
# The attacker and the client know a way to the services' subnets: through the host.
for name in client attacker; do
  ip -n $name route add default via 198.51.100.1
  ip -n $name -6 route add default via 2001:db8:1::1
done
# The host's own way out, so that addresses which are not on a link have a route.
ip route add default via 198.51.100.2
ip -6 route add default via 2001:db8:1::2

# Link-local addresses come by themselves: a snapshot is only stable once they are there and checked.
until ip -6 -o address show dev lan0 scope link | grep -q . && ! ip -6 -o address show tentative | grep -q .; do
  sleep 0.02
done

echo ready
# It reaps what ends without a parent, as a host's first process does.
exec catatonit -P
