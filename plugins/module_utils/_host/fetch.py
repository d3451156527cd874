# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives on the host and behind URLs, and their digests."""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t

from .._errors import InvalidOption, IsolationError

_CHUNK = 1 << 20
_known: dict[tuple[int, ...], str] = {}


class FetchError(IsolationError):
    """An archive can't be had."""


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file's content does: device, inode, size, times of modification and change (ns)."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def open_archive(path: str, option: str) -> int:
    """Open an archive for reading. `option` is what named it.

    :raises InvalidOption: there is no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidOption(f"{option}: {path}: {error.strerror}: copy the archive to this host first") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidOption(f"{option}: {path}: not a regular file")
    os.set_blocking(descriptor, True)
    return descriptor


def digest(descriptor: int) -> str:
    """The digest (`sha256:…`) of an open file; of a file that has not changed it is computed once in a process."""
    status = os.fstat(descriptor)
    key = identity(status)
    if key not in _known:
        found = hashlib.sha256()
        offset = 0
        while True:
            part = os.pread(descriptor, _CHUNK, offset)
            if not part:
                break
            found.update(part)
            offset += len(part)
        _known[key] = f"sha256:{found.hexdigest()}"
    return _known[key]


def check_digest(label: str, expected: str, found: str) -> None:
    """Compare checksums.

    :raises InvalidOption: they differ; the message has both.
    """
    if expected != found:
        raise InvalidOption(
            f"{label}: wrong checksum: expected {expected}, found {found}: the file is damaged, or another one is meant"
        )


def download(url: str, path: str, limit: int) -> int:
    """Fetch a URL into a file; return its size in bytes. Proxies of the environment are used.

    :raises FetchError: the server or the network refused, or it is longer than `limit` bytes.
    """
    from ansible.module_utils.urls import open_url  # takes as long to load as a root filesystem takes to mount

    size = 0
    try:
        with open_url(url, timeout=60, follow_redirects="safe") as answer, open(path, "xb") as stream:
            while True:
                part = t.cast("bytes", answer.read(_CHUNK))
                if not part:
                    break
                size += len(part)
                if size > limit:
                    raise FetchError(f"{url}: longer than {limit} bytes: raise max_size if that is meant")
                stream.write(part)
            announced = answer.headers.get("Content-Length")
    except (OSError, ValueError) as error:  # URLError, HTTPError and timeouts are OSErrors
        raise FetchError(f"{url}: can't be fetched: {error}") from error
    if announced is not None and announced.isdigit() and int(announced) != size:
        raise FetchError(f"{url}: cut off: {size} of {announced} bytes came; run again")
    return size
