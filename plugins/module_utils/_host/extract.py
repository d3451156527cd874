# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacking archives: the parent of the confined process (helpers/unpack.py), and what stands between it and the archive."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from . import libexec
from .helpers import unpack as _helper
from .process import SEARCH_PATH, require_tool

_ZSTD = b"\x28\xb5\x2f\xfd"
_CUT_OFF = ("damaged or cut off", "unexpected end")


class UnpackError(IsolationError):
    """An archive can't be unpacked."""


@dataclass(frozen=True)
class Limits:
    """What unpacking may take: bytes of all files together, and entries."""

    size: int
    entries: int


@dataclass(frozen=True)
class Unpacked:
    """What unpacking has made. `devices` were left out, `xattrs_lost` could not be stored."""

    size: int
    entries: int
    devices: int
    xattrs_lost: int


def _confined(source: int | None, directory: str, limits: Limits) -> subprocess.Popen[bytes]:
    argv = [sys.executable or libexec.interpreter(), "-I", "-S", "-X", "utf8", "-c", libexec.source(_helper)]
    return subprocess.Popen(
        [*argv, directory, str(limits.size), str(limits.entries)],
        stdin=subprocess.PIPE if source is None else source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": SEARCH_PATH},
        cwd="/",
    )


def _answer(label: str, stdout: bytes, stderr: bytes) -> Unpacked:
    try:
        answer = json.loads(stdout)
    except ValueError:
        said = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it was killed (is there memory enough?)"]
        raise UnpackError(f"{label}: the process that unpacks ended early: {said[0]}") from None
    if "error" in answer:
        entry = f"entry {answer['entry']!r}: " if answer.get("entry") else ""
        raise UnpackError(f"{label}: {entry}{answer['error']}")
    return Unpacked(answer["size"], answer["entries"], answer["devices"], answer["xattrs_lost"])


def unpack_stream(produce: t.Callable[[t.IO[bytes]], None], label: str, directory: str, limits: Limits) -> Unpacked:
    """Unpack a tar stream that `produce` writes, into an empty directory.

    :raises UnpackError: an entry is refused, or the stream is broken.
    :raises IsolationError: what `produce` raises.
    """
    process = _confined(None, directory, limits)
    failures: list[BaseException] = []

    def write() -> None:
        stream = t.cast("t.IO[bytes]", process.stdin)
        try:
            produce(stream)
        except BrokenPipeError:  # the reader has refused an entry, and says so
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)
        finally:
            with contextlib.suppress(OSError):
                stream.close()

    writer = threading.Thread(target=write)
    writer.start()
    stdout = t.cast("t.IO[bytes]", process.stdout).read()
    stderr = t.cast("t.IO[bytes]", process.stderr).read()
    process.wait()
    writer.join()
    if failures:
        raise failures[0]
    return _answer(label, stdout, stderr)


def unpack_file(archive: int, label: str, directory: str, limits: Limits) -> Unpacked:
    """Unpack a tar archive, plain or compressed by gzip, xz, bzip2 or zstd, from an open file into an empty directory.

    :raises UnpackError: an entry is refused, or the archive is broken.
    :raises ToolError: it is compressed by zstd, and the host has no zstd.
    """
    if os.pread(archive, len(_ZSTD), 0) != _ZSTD:
        os.lseek(archive, 0, os.SEEK_SET)
        process = _confined(archive, directory, limits)
        return _answer(label, *process.communicate())
    os.lseek(archive, 0, os.SEEK_SET)
    tool = subprocess.Popen(
        [require_tool("zstd"), "-dc", "-q", "-"],
        stdin=archive,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": SEARCH_PATH},
    )
    try:
        process = _confined(t.cast("t.IO[bytes]", tool.stdout).fileno(), directory, limits)
        t.cast("t.IO[bytes]", tool.stdout).close()
        stdout, stderr = process.communicate()
    finally:
        refused = t.cast("t.IO[bytes]", tool.stderr).read().decode(errors="replace").strip()
        status = tool.wait()
    try:
        unpacked = _answer(label, stdout, stderr)
    except UnpackError as error:
        if status > 0 and any(sign in str(error) for sign in _CUT_OFF):
            raise UnpackError(f"{label}: zstd: {refused}") from error.__cause__
        raise
    if status != 0:
        raise UnpackError(f"{label}: zstd: {refused or f'status {status}'}")
    return unpacked
