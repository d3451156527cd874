# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print what modules may change on this host, as JSON: lists of lines by kind. Arguments are the folders to read.

Of FOLDER=STAGE only what differs from STAGE/lower is read: STAGE/upper, on top of it, is where overlayfs keeps that.

With --known as the first argument, standard input is what an earlier snapshot has printed as `known`, and the same is
printed again: files that have not changed since are not read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
import typing as t

IMAGES = "/var/lib/isolation/images"
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all",
    "net/ipv6/conf/all",
    "net/ipv4/conf/default",
)


def command(*argv: str) -> list[str]:
    """The lines that a tool prints; none if it is not installed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines()


def entries(tool: tuple[str, ...], volatile: tuple[str, ...]) -> list[str]:
    """Objects that iproute2 lists, one line each, without what changes by itself."""
    found = json.loads("".join(command(*tool)) or "[]")
    return [
        json.dumps({key: value for key, value in item.items() if key not in volatile}, sort_keys=True) for item in found
    ]


Known = t.Dict[str, t.List[t.Any]]
"""Of each regular file what changes when its content does, and the digest of that."""

_SETTLED = 10**9
"""Nanoseconds after which another write surely gives a file other times."""


LOGS = "/var/log/isolation/"


def digest(path: str, found: os.stat_result, known: Known, began: int) -> str:
    """The sha256 of a file's content, read only if it may have changed."""
    times = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    if path not in known or known[path][0] != times:
        with open(path, "rb") as stream:
            known[path] = [times, hashlib.sha256(stream.read()).hexdigest()]
    content = str(known[path][1])
    if began - found.st_ctime_ns < _SETTLED:
        del known[path]
    return content


def describe(path: str, known: Known, began: int) -> str:
    """A file's kind, mode, owner and a digest of the content."""
    found = os.lstat(path)
    content = ""
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        # What a service logs at its own time is no change of a module's.
        content = "log" if path.startswith(LOGS) else digest(path, found, known, began)
    return f"{found.st_mode:o} {found.st_uid}:{found.st_gid} {content}"


def whole(folder: str, known: Known, began: int) -> t.Iterator[str]:
    """A line for each file below a folder; the cache of images only by its entries."""
    for top, names, leaves in os.walk(folder):
        if os.path.dirname(top) == IMAGES:
            names.clear()
        for name in (*names, *leaves):
            path = os.path.join(top, name)
            yield f"{path} {describe(path, known, began)}"


def changed(folder: str, stage: str, known: Known, began: int) -> t.Iterator[str]:
    """A line for each file below a folder that is not what the layer below the overlay has, and for each that is gone."""
    upper, lower = os.path.join(stage, "upper"), os.path.join(stage, "lower")
    for top, names, leaves in os.walk(upper):
        within = os.path.relpath(top, upper)
        place, below = (os.path.normpath(os.path.join(start, within)) for start in (folder, lower))
        there, former = set(os.listdir(place)), set(os.listdir(below))
        yield from (f"{place}/{name} gone" for name in former - there)
        for name in there.intersection((*names, *leaves)):
            path, old = os.path.join(place, name), os.path.join(below, name)
            found = describe(path, known, began)
            if name not in former or found != describe(old, known, began):
                yield f"{path} {found}"
            if name in names and not (name in former and os.path.isdir(old) and not os.path.islink(old)):
                names.remove(name)
                yield from whole(path, known, began)


def files(folders: t.Sequence[str], known: Known) -> list[str]:
    """The lines of the folders. One in which something else is mounted is read as a whole."""
    lines: set[str] = set()
    began = time.time_ns()
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        points = [line.split()[4] for line in stream]
    for folder, _equals, stage in (given.partition("=") for given in folders):
        mounted = sum(point == folder or point.startswith(folder + "/") for point in points)
        found = changed(folder, stage, known, began) if stage and mounted == 1 else whole(folder, known, began)
        lines.update(found)
    return sorted(lines)


def mounts() -> list[str]:
    """Mount point, type, source and options, without the numbers."""
    lines = []
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        for line in stream:
            fields, _dash, rest = line.rstrip("\n").partition(" - ")
            parts = fields.split()
            lines.append(f"{parts[4]} {parts[5]} {rest}")
    return sorted(lines)


def cgroups() -> list[str]:
    """The directories of every cgroup hierarchy."""
    return sorted({top for top, _names, _files in os.walk("/sys/fs/cgroup")})


def sysctls() -> list[str]:
    """The values of network settings that hold for more than one link."""
    lines = []
    for name in SYSCTLS:
        path = os.path.join("/proc/sys", name)
        for file in (
            [path] if os.path.isfile(path) else [os.path.join(path, entry) for entry in sorted(os.listdir(path))]
        ):
            try:
                with open(file, encoding="utf-8") as stream:
                    lines.append(f"{file} {stream.read().strip()}")
            except OSError:
                continue
    return lines


def main() -> None:
    """Print the snapshot."""
    link = ("ip", "-j", "-d", "link", "show")
    address = ("ip", "-j", "address", "show")
    folders = sys.argv[1:]
    again = folders[:1] == ["--known"]
    known: Known = json.load(sys.stdin) if again else {}
    snapshot: dict[str, t.Any] = {
        "links": entries(
            link, ("stats64", "operstate", "flags", "ifindex", "link_index", "inet6_addr_gen_mode", "linkinfo")
        ),
        "addresses": entries(address, ("operstate", "flags", "ifindex", "link_index")),
        "routes": command("ip", "route", "show", "table", "all"),
        "routes6": sorted(line.split(" expires ")[0] for line in command("ip", "-6", "route", "show", "table", "all")),
        "rules": command("ip", "rule") + command("ip", "-6", "rule"),
        "nft": command("nft", "-s", "list", "ruleset"),
        "mounts": mounts(),
        "netns": command("ip", "netns", "list"),
        "cgroups": cgroups(),
        "sysctls": sysctls(),
        "files": files(folders[again:], known),
    }
    if again:
        snapshot["known"] = known
    json.dump(snapshot, sys.stdout)


if __name__ == "__main__":
    main()
