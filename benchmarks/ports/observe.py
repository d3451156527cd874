# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel and the process table of a world hold."""

from __future__ import annotations

import json
import sys
import typing as t

from world import World

PROCESSES = r"""
import json, os, re
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/comm") as comm, open(f"/proc/{pid}/smaps_rollup") as maps:
            sizes = re.search(r"^Pss: +(\d+)", maps.read(), re.M)
            found.append((int(pid), comm.read().strip(), int(sizes[1]) * 1024 if sizes else 0))
    except (FileNotFoundError, ProcessLookupError):
        pass
print(json.dumps([entry for entry in found if entry[0] != os.getpid()]))
"""

# memory.kmem of cgroup v1 counts what this world's own processes had the kernel allocate; elsewhere all of the machine is counted.
KERNEL_MEMORY = r"""
own=/sys/fs/cgroup/memory/memory.kmem.usage_in_bytes
if [ -e $own ]; then cat $own; else awk '/^SUnreclaim:/ { print $2 * 1024 }' /proc/meminfo; fi
"""


class Process(t.NamedTuple):
    """A process of the world; memory is its proportional set size, in bytes."""

    pid: int
    name: str
    pss: int


def processes(world: World) -> list[Process]:
    """All processes of the world, but the one that looks."""
    return [Process(*entry) for entry in json.loads(world.run([sys.executable, "-c", PROCESSES]).stdout)]


def nft_objects(world: World) -> tuple[int, int]:
    """The rules, and the elements of maps and sets, of all nftables tables."""
    entries = json.loads(world.run(["nft", "-j", "list", "ruleset"]).stdout)["nftables"]
    rules = sum("rule" in entry for entry in entries)
    elements = sum(
        len(body.get("elem", ())) for entry in entries for kind, body in entry.items() if kind in ("set", "map")
    )
    return rules, elements


def iptables_rules(world: World) -> int:
    """The rules of all iptables tables, both families."""
    saved = world.sh("iptables-save; ip6tables-save")
    return sum(line.startswith("-A ") for line in saved.splitlines())


def kernel_bytes_of_table(world: World, table: str, file: str) -> int:
    """What the kernel allocates for a table: deleted, looked, loaded from its file, looked again."""
    look = f"sleep 0.2; {KERNEL_MEMORY}"
    script = f"nft list ruleset >/dev/null; nft delete table {table}; {look} nft -f {file}; {look}"
    before, after = map(int, world.sh(script).split())
    return after - before
