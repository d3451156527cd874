# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OCI runtimes (crun(1), runc(8)), what they start as PID 1, and the short helpers that they need on a host."""

from __future__ import annotations

import glob
import json
import os
import re
import struct
from dataclasses import dataclass

from .. import _paths
from .._errors import InvalidOption
from . import joins
from .files import read_text
from .libexec import path as helper_path
from .process import SEARCH_PATH, find_tool, run

RUNTIMES = ("crun", "runc")
RUNTIME_HELPER = "crun"
NETWORK_HELPER = "network"
BACKOFF_HELPER = "backoff"
PID_FOLDER = _paths.RUN + "/service"
DELAYS = _paths.RUN + "/restart"

_INITS = (
    "/usr/bin/catatonit",
    "/usr/libexec/catatonit/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/bin/tini-static",
    "/sbin/tini-static",
    "/usr/bin/tini",
    "/sbin/tini",
)

_RUNTIME_TEXT = f"""#!/bin/sh
# {_paths.MARKER}: starts crun.
# On a host that has cgroup v1 and an empty v2 tree beside it, crun refuses every container. It takes the v1 hierarchies as
# they are once that tree is out of sight, in a mount namespace of its own.
PATH={SEARCH_PATH}
[ ! -e /sys/fs/cgroup/unified/cgroup.procs ] ||
  exec unshare --mount --propagation slave sh -c 'umount /sys/fs/cgroup/unified && exec crun "$@"' crun "$@"
exec crun "$@"
"""

_NETWORK_TEXT = f"""#!/bin/sh
# {_paths.MARKER}: an OCI createRuntime hook that joins a service with its bridges. The state is on stdin, the
# bundle's directory is the argument.
# Why: only the runtime can make a network namespace that belongs to the service's own user namespace, so that the links
# must be made between its creation and the service's first program.
set -eu
PATH={SEARCH_PATH}
bundle=$1
state=$(cat)
pid=${{state#*\"pid\"}}
pid=${{pid#"${{pid%%[0-9]*}}"}}
pid=${{pid%%[!0-9]*}}
[ -d "/proc/$pid/ns" ] || {{ echo "$bundle: the runtime's state has no pid of a process: $state" >&2; exit 1; }}
isolated=on hairpin=off
for family in ip ip6; do
  file=/proc/sys/net/bridge/bridge-nf-call-${{family}}tables
  # Bridges that pass their frames to iptables would drop translated flows between isolated ports.
  [ ! -e "$file" ] || {{ read -r passed <"$file" && [ "$passed" = 0 ]; }} || {{ isolated=off hairpin=on; }}
done
while read -r bridge link name mac kind; do
  apart=$isolated
  [ "$kind" != l2 ] || apart=off
  [ -d "/sys/class/net/$bridge/bridge" ] || {{
    echo "$bundle: there is no bridge $bridge: apply daemonless.isolation.bridge" >&2
    exit 1
  }}
  read -r mtu <"/sys/class/net/$bridge/mtu"
  # What a killed instance has left: the kernel removes it a moment later by itself.
  [ ! -e "/sys/class/net/$link" ] || ip link delete "$link" 2>/dev/null || :
  ip -batch - <<BATCH
link add name $link mtu $mtu type veth peer name $name address $mac mtu $mtu netns $pid
link set $link master $bridge
link set $link type bridge_slave isolated $apart hairpin $hairpin
link set $link up
BATCH
done <"$bundle/network"
# The host may still know another MAC address for one of its addresses: that of an earlier instance, or an earlier one of its own.
while read -r kind verb address _rest; do
  [ "$kind $verb" != 'address add' ] || echo "neighbour flush to ${{address%/*}}"
done <"$bundle/network.ip" | ip -force -batch - >/dev/null 2>&1 || :
# No router advertisement may change routes in there.
nsenter --net="/proc/$pid/ns/net" sh -c '
  for conf in /proc/sys/net/ipv6/conf/*; do
    [ ! -e "$conf/accept_ra" ] || echo 0 >"$conf/accept_ra"
  done
  exec ip -batch "$1"' sh "$bundle/network.ip"
"""

_BACKOFF_TEXT = f"""#!/bin/sh
# {_paths.MARKER}: how long a service that keeps ending waits before it is started again. Neither runit nor systemd before
# 254 have a delay that grows.
#   backoff begin NAME            wait as long as it must; a run begins
#   backoff end NAME FIRST LAST [STATUS]
#                                 a run has ended; the next delay is FIRST milliseconds, twice the last one, at most LAST
# A run of ten seconds, or of the last delay if that is longer, is a good one: the delay begins again. One that was never well, by what
# the periodic check leaves, is not, however long it was.
set -eu
state={DELAYS}/$2
now() {{ # milliseconds since boot, without a zero in front
  read -r up _ </proc/uptime
  up=${{up%.*}}${{up#*.}}0
  up=${{up#"${{up%%[!0]*}}"}}
}}
delay=0 began=0 ends=0 ended=0 status=-
for folder in {DELAYS} {PID_FOLDER}; do [ -d $folder ] || mkdir -p $folder; done
[ ! -e "$state" ] || read -r delay began ends ended status <"$state"
# A file of an earlier version has two words.
ends=${{ends:-0}} ended=${{ended:-0}} status=${{status:--}}
case $1 in
begin)
  # What was interrupted while it wrote the names of siblings: nothing has the file mounted now.
  hosts={_paths.INSTANCES}/$2/hosts
  [ ! -e "$hosts.new" ] || mv -f "$hosts.new" "$hosts"
  if [ "$delay" != 0 ]; then
    trap 'kill "$sleeper" 2>/dev/null; exit 1' TERM
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))" &
    sleeper=$!
    wait "$sleeper"
  fi
  now
  echo "$delay $up $ends $ended $status" >"$state"
  ;;
end)
  good=10000
  [ "$delay" -le $good ] || good=$delay
  now
  ran=$((up - began)) ill={_paths.RUN}/health/$2.ill
  [ ! -e "$ill" ] || {{ rm -f "$ill"; ran=0; }}
  if [ "$began" = 0 ] || [ "$delay" = 0 ] || [ "$ran" -ge "$good" ]; then next=$3; else next=$((delay * 2)); fi
  [ "$next" -le "$4" ] || next=$4
  # systemd tells it to what it runs after an end (systemd.exec(5)).
  status=${{5:-${{EXIT_STATUS:--}}}}
  echo "$next $began $((ends + 1)) $up $status" >"$state"
  {joins.END}
  ;;
esac
"""

HELPERS = {
    RUNTIME_HELPER: _RUNTIME_TEXT,
    NETWORK_HELPER: _NETWORK_TEXT,
    BACKOFF_HELPER: _BACKOFF_TEXT,
    joins.HELPER: joins.TEXT,
}
"""Programs that services need under /usr/local/libexec/isolation, by name."""


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime of the host."""

    name: str
    path: str
    version: tuple[int, ...]

    @property
    def shown(self) -> str:
        """Name and version for people."""
        return f"{self.name} {'.'.join(map(str, self.version)) or 'of unknown version'}"


def command(runtime: str) -> str:
    """What starts a runtime: crun by the helper that knows about mixed control groups."""
    if runtime == "crun":
        return helper_path(RUNTIME_HELPER)
    return find_tool(runtime) or f"/usr/bin/{runtime}"


def find_runtimes() -> dict[str, Runtime]:
    """The runtimes that are installed, by name."""
    found = {}
    for name in RUNTIMES:
        path = find_tool(name)
        if path is not None:
            text = run([path, "--version"], check=False).stdout
            match = re.search(r"version (\d+(?:\.\d+)*)", text)
            numbers = tuple(int(part) for part in match.group(1).split(".")) if match else ()
            found[name] = Runtime(name, path, numbers)
    return found


def is_static(path: str) -> bool:
    """Whether a 64-bit ELF program needs no interpreter (elf(5): no PT_INTERP), so that it runs in any root filesystem."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(64)
            if len(head) < 64 or head[:5] != b"\x7fELF\x02":
                return False
            order = "<" if head[5] == 1 else ">"
            (offset,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
            stream.seek(offset)
            table = stream.read(size * count)
        return all(struct.unpack_from(order + "I", table, index * size)[0] != 3 for index in range(count))
    except (OSError, struct.error):
        return False


def find_init() -> str | None:
    """The host's init for services: the first static one of those that are known."""
    return next((path for path in _INITS if is_static(path)), None)


def more_masked() -> tuple[str, ...]:
    """Paths of this machine to mask beside those that every machine has: the CPUs' temperature counters."""
    return tuple(sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")))


def nameservers() -> tuple[str, ...]:
    """The host's name servers that a service can reach: not those on the host's own loopback (resolv.conf(5))."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        found = []
        for line in (read_text(path) or "").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and not words[1].startswith(("127.", "::1", "fe80:")):
                found.append(words[1])
        if found:
            return tuple(found)
    return ()


def load_profile(path: str) -> dict[str, object]:
    """A seccomp profile of the host, in the form of the OCI runtime specification.

    :raises InvalidOption: it can't be read, or is none.
    """
    text = read_text(path)
    try:
        found = json.loads(text or "")
    except ValueError:
        found = None
    if not isinstance(found, dict) or "defaultAction" not in found:
        raise InvalidOption(
            f"seccomp: {path}: not a profile of this host: a JSON file with defaultAction and syscalls"
            " (OCI runtime-spec, config-linux.md, Seccomp)"
        )
    return found


def pid_file(name: str) -> str:
    """Where the runtime writes the process id of a service's first process."""
    return os.path.join(PID_FOLDER, name + ".pid")


def delay_file(name: str) -> str:
    """Where the back-off helper remembers a service's delay."""
    return os.path.join(DELAYS, name)


def kill_container(runtime: str, name: str) -> None:
    """End what is left of a container, and forget it; no error if there is none."""
    run([command(runtime), "delete", "--force", name], check=False, timeout=60)
