# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of the host a service sees, by its mounts. Pure."""

from __future__ import annotations

import typing as t

from .._host.evidence import Found
from .._host.mounts import find
from .model import FAIL, NOT_APPLICABLE, PASS, WARN, Subject, Verdict, listed, verdict

SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sys", "/usr", "/var/run")
"""Directories of the host that tell of it, or by which it is ruled."""

PROGRAMS = ("/lib", "/lib64", "/usr")
"""Anybody may read what is in these: a single file of theirs, such as an init or a time zone, tells nothing and can't be changed if read-only."""

PLAIN_DEVICES = frozenset(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))
"""Devices that every service has: they lead to nothing of the machine."""

_GROUPS = ("cgroup", "cgroup2")


def below(path: str, top: str) -> bool:
    """Whether a path is a directory, or in it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def _writable(place: Found) -> bool:
    return "rw" in place.mount.options


def _is_sensitive(place: Found, own: t.Iterable[str]) -> bool:
    if place.kind in ("device", "socket") or place.mount.kind in _GROUPS or any(below(place.path, top) for top in own):
        return False
    if place.kind == "file" and not _writable(place) and any(below(place.path, top) for top in PROGRAMS):
        return False
    return place.path == "/" or any(below(place.path, top) for top in SENSITIVE)


def _told(places: t.Iterable[Found]) -> str:
    return listed(f"{one.path} on {one.mount.target} ({'rw' if _writable(one) else 'ro'})" for one in places)


def directories(subject: Subject) -> Verdict:
    """5.6."""
    found = [place for place in subject.kernel.places if _is_sensitive(place, subject.own)]
    if found:
        return Verdict(FAIL, "mountinfo: " + _told(found))
    return Verdict(PASS, f"mountinfo: none among {len(subject.kernel.mounts)} mounts")


def read_only_root(subject: Subject) -> Verdict:
    """5.13."""
    root = find("/", subject.kernel.mounts)
    if root is None:
        return Verdict(WARN, "mountinfo has no line for /")
    return verdict("ro" in root.options, f"mountinfo: / is {'ro' if 'ro' in root.options else 'rw'} ({root.kind})")


def devices(subject: Subject) -> Verdict:
    """5.18. A mount with nodev shows a node that nobody can open."""
    found = [
        place
        for place in subject.kernel.places
        if place.kind == "device" and place.path not in PLAIN_DEVICES and "nodev" not in place.mount.options
    ]
    if found:
        return Verdict(FAIL, "mountinfo: " + _told(found))
    plain = [place for place in subject.kernel.places if place.kind == "device" and place.path in PLAIN_DEVICES]
    return Verdict(PASS, "mountinfo: only " + listed(sorted({one.path for one in plain}), "devices of its own"))


def propagation(subject: Subject) -> Verdict:
    """5.20: a mount made inside must not appear on the host."""
    shared = subject.kernel.peers & subject.host.peers
    told = listed(f"shared:{number}" for number in sorted(shared))
    return verdict(not shared, f"mountinfo: peer groups shared with the host: {told}")


def control_sockets(subject: Subject) -> Verdict:
    """5.32, and the likes of it: a directory that holds such a socket is as good as the socket."""
    places = subject.kernel.places
    ruling = [
        place
        for place in places
        if place.kind in ("directory", "socket") and any(below(socket, place.path) for socket in subject.host.sockets)
    ]
    if ruling:
        return Verdict(FAIL, "mountinfo: " + _told(ruling))
    others = [place for place in places if place.kind == "socket"]
    if others:
        return Verdict(WARN, "mountinfo: sockets of the host, of unknown power: " + _told(others))
    return Verdict(
        PASS, "mountinfo: no socket of the host; it has " + listed(subject.host.sockets, "none that rule it")
    )


def image(subject: Subject) -> Verdict:
    """5.28, by the image's reference: all other sources are told apart by their content."""
    registry = subject.source.get("registry")
    if not isinstance(registry, dict):
        kind = listed(sorted(subject.source), "a directory")
        return Verdict(NOT_APPLICABLE, f"the root filesystem is from no registry ({kind})")
    reference = str(registry.get("image", ""))
    return verdict("@" in reference or not reference.endswith(":latest"), f"the image is {reference}")
