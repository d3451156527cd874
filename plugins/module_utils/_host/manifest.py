# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a directory tree holds, one line for each entry, so that it can be told later whether it still does.

A line is a JSON list: path, octal mode with the kind (inode(7)), owner, group, size in bytes, then the sha256 of a
file or the target of a link, then extended attributes. Directories have no size, and times are left out: neither
changes what a service gets to see.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import typing as t
from dataclasses import dataclass

_CHUNK = 1 << 20
_CAPABILITY = "security.capability"


@dataclass(frozen=True)
class Damage:
    """How a tree differs from its manifest: the first entry with what is wrong with it, and how many there are."""

    first: str
    entries: int

    def __str__(self) -> str:
        return f"{self.first}, {self.entries} {'entry' if self.entries == 1 else 'entries'}"


def _digest(descriptor: int, size: int) -> str:
    found = hashlib.sha256()
    while True:
        part = os.read(descriptor, min(size + 1, _CHUNK))
        if not part:
            return found.hexdigest()
        found.update(part)


def _attributes(descriptor: int) -> dict[str, str]:
    """Those that unpacking keeps: others, such as security labels, are the host's."""
    try:
        names = os.listxattr(descriptor)
        return {
            name: os.getxattr(descriptor, name).hex()
            for name in sorted(names)
            if name.startswith("user.") or name == _CAPABILITY
        }
    except OSError:  # this file system has none
        return {}


def _line(path: str, name: str, holder: int) -> str:
    found = os.stat(name, dir_fd=holder, follow_symlinks=False)
    size, content, attributes = 0, "", {}
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(name, dir_fd=holder)
    elif stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=holder)
        try:
            attributes = _attributes(descriptor)
            if stat.S_ISREG(found.st_mode):
                size, content = found.st_size, _digest(descriptor, found.st_size)
        finally:
            os.close(descriptor)
    return json.dumps([path, f"{found.st_mode:o}", found.st_uid, found.st_gid, size, content, attributes])


def _lines(root: str) -> t.Iterator[tuple[str, str]]:
    """Path and line of each entry. No symbolic link is followed."""
    for top, directories, files, holder in os.fwalk(root):
        directories.sort()
        prefix = os.path.relpath(top, root)
        if prefix == ".":
            yield ".", _line(".", ".", holder)
        for name in sorted([*directories, *files]):
            path = name if prefix == "." else f"{prefix}/{name}"
            yield path, _line(path, name, holder)


def describe(root: str) -> str:
    """The manifest of a tree.

    :raises OSError: it can't be read.
    """
    return "".join(line + "\n" for _path, line in _lines(root))


def digest(text: str) -> str:
    """The sha256 of a manifest, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


_WHAT = ("path", "mode", "owner", "group", "size", "content", "attributes")


def _difference(path: str, expected: str | None, found: str | None) -> str:
    if expected is None:
        return f"/{path}: not in the image"
    if found is None:
        return f"/{path}: missing"
    pairs = zip(_WHAT, json.loads(expected), json.loads(found))
    return f"/{path}: other {', '.join(what for what, before, after in pairs if before != after)}"


def compare(text: str, root: str) -> Damage | None:
    """How a tree differs from a manifest; None if it doesn't.

    :raises OSError: the tree can't be read.
    """
    expected = {json.loads(line)[0]: line for line in text.splitlines()}
    found = dict(_lines(root))
    wrong = sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
    if not wrong:
        return None
    return Damage(_difference(wrong[0], expected.get(wrong[0]), found.get(wrong[0])), len(wrong))
