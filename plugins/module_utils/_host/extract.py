# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacking archives: the parent of the confined process (helpers/unpack.py), and what stands between it and the archive."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from . import libexec
from .helpers import archive as _archive
from .helpers import confine as _confine
from .helpers import layers as _layers
from .helpers import tree as _tree
from .helpers import unpack as _helper
from .process import SEARCH_PATH, require_tool
from .unpacked import Limits, Unpacked

_CUT_OFF = ("damaged or cut off", "unexpected end")


class UnpackError(IsolationError):
    """An archive can't be unpacked."""


def _confined(kind: str, source: int | None, directory: str, limits: Limits) -> subprocess.Popen[bytes]:
    program = libexec.bundle(_helper, _archive, _tree, _layers, _confine)
    return subprocess.Popen(
        [
            sys.executable or libexec.interpreter(),
            "-I",
            "-S",
            "-X",
            "utf8",
            "-c",
            program,
            kind,
            directory,
            str(limits.size),
            str(limits.entries),
        ],
        stdin=subprocess.PIPE if source is None else source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": SEARCH_PATH},
        cwd="/",
    )


def _answer(label: str, stdout: bytes, stderr: bytes, more: t.IO[bytes] | None = None) -> dict[str, t.Any]:
    """The answer of the confined process. What it said last is in `stderr`, or is read from `more` if there is no answer."""
    try:
        answer: dict[str, t.Any] = json.loads(stdout)
    except ValueError:
        stderr = more.read() if more is not None else stderr
        said = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it was killed (is there memory enough?)"]
        raise UnpackError(f"{label}: the process that unpacks ended early: {said[0]}") from None
    if "error" in answer:
        entry = f"entry {answer['entry']!r}: " if answer.get("entry") else ""
        raise UnpackError(f"{label}: {entry}{answer['error']}")
    return answer


def _unpacked(answer: t.Mapping[str, t.Any]) -> Unpacked:
    return Unpacked(answer["size"], answer["entries"], answer["devices"], answer["xattrs_lost"])


def unpack_stream(produce: t.Callable[[t.IO[bytes]], None], label: str, directory: str, limits: Limits) -> Unpacked:
    """Unpack a tar stream that `produce` writes, into an empty directory.

    :raises UnpackError: an entry is refused, or the stream is broken.
    :raises IsolationError: what `produce` raises.
    """
    process = _confined("archive", None, directory, limits)
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
    return _unpacked(_answer(label, stdout, stderr))


class Codec(t.NamedTuple):
    """How an archive is compressed, by the bytes that it begins with."""

    name: str
    magic: bytes


PLAIN = "tar"
_ZSTD = "zstd"
_CODECS = (
    Codec("gzip", b"\x1f\x8b"),
    Codec(_ZSTD, b"\x28\xb5\x2f\xfd"),
    Codec("xz", b"\xfd7zXZ\0"),
    Codec("bzip2", b"BZh"),
)


def compression(archive: int) -> str:
    """How the content of an open file is compressed: gzip, zstd, xz, bzip2, or not at all (tar), as far as its beginning tells."""
    begin = os.pread(archive, 6, 0)
    return next((codec.name for codec in _CODECS if begin.startswith(codec.magic)), PLAIN)


class _Content:
    """What the confined process reads of an archive, as a context manager. zstd unpacks it first, which Python learns in 3.14.

    :raises UnpackError: zstd failed.
    :raises ToolError: it is compressed by zstd, and the host has no zstd.
    """

    def __init__(self, archive: int, label: str) -> None:
        self._label = label
        self._tool: subprocess.Popen[bytes] | None = None
        self.descriptor = archive
        os.lseek(archive, 0, os.SEEK_SET)
        if compression(archive) == _ZSTD:
            self._tool = subprocess.Popen(
                [require_tool("zstd"), "-dc", "-q", "-"],
                stdin=archive,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": SEARCH_PATH},
            )
            self.descriptor = t.cast("t.IO[bytes]", self._tool.stdout).fileno()

    def given(self) -> None:
        """The reader has a descriptor of its own now: when it ends, so does zstd."""
        if self._tool is not None:
            t.cast("t.IO[bytes]", self._tool.stdout).close()

    def __enter__(self) -> _Content:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._tool is None:
            return
        self.given()
        with t.cast("t.IO[bytes]", self._tool.stderr) as stderr:
            said = stderr.read().decode(errors="replace").strip()
        status = self._tool.wait()
        missed = isinstance(error, UnpackError) and any(sign in str(error) for sign in _CUT_OFF)
        if (error is None and status != 0) or (missed and status > 0):  # what its reader only missed, zstd knows
            raise UnpackError(f"{self._label}: zstd: {said or f'status {status}'}") from error


def _from_file(kind: str, archive: int, label: str, directory: str, limits: Limits) -> dict[str, t.Any]:
    with _Content(archive, label) as content:
        process = _confined(kind, content.descriptor, directory, limits)
        content.given()
        return _answer(label, *process.communicate())


def unpack_file(archive: int, label: str, directory: str, limits: Limits) -> Unpacked:
    """Unpack a tar archive, plain or compressed by gzip, xz, bzip2 or zstd, from an open file into an empty directory.

    :raises UnpackError: an entry is refused, or the archive is broken.
    :raises ToolError: it is compressed by zstd, and the host has no zstd.
    """
    return _unpacked(_from_file("archive", archive, label, directory, limits))


def peek_file(archive: int, label: str, limits: Limits) -> dict[str, bytes]:
    """The short files of an archive (4 MiB each at most) by name. Nothing is unpacked.

    :raises UnpackError: the archive is broken, or longer than `limits`.
    :raises ToolError: it is compressed by zstd, and the host has no zstd.
    """
    found = _from_file("peek", archive, label, "", limits)["files"]
    return {name: base64.b64decode(content) for name, content in found.items()}


@dataclass(frozen=True)
class Layer:
    """A layer of an image: `open` gives a descriptor of its archive, checked, which `digest` has once it is unpacked."""

    label: str
    digest: str
    open: t.Callable[[], int]


def unpack_layers(layers: t.Sequence[Layer], label: str, directory: str, limits: Limits) -> Unpacked:
    """Unpack layers on top of each other, lower ones first, into an empty directory. `limits` hold for all together.

    :raises UnpackError: an entry is refused, a layer is broken, or unpacks to something else than the image tells.
    :raises ToolError: one is compressed by zstd, and the host has no zstd.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        with its:
            process = _confined("layers", its.fileno(), directory, limits)
        stdout, stderr = t.cast("t.IO[bytes]", process.stdout), t.cast("t.IO[bytes]", process.stderr)
        try:
            for layer in layers:
                _send_layer(ours, layer, stdout, stderr)
            ours.shutdown(socket.SHUT_WR)
            return _unpacked(_answer(label, stdout.readline(), b"", stderr))
        finally:
            process.kill()  # its child dies with it; after the last answer both are at their end
            process.wait()
            stdout.close()
            stderr.close()


def _send_layer(channel: socket.socket, layer: Layer, stdout: t.IO[bytes], stderr: t.IO[bytes]) -> None:
    archive = layer.open()
    try:
        with _Content(archive, layer.label) as content:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and said why
                socket.send_fds(channel, [b"+"], [content.descriptor])
            content.given()
            found = _answer(layer.label, stdout.readline(), b"", stderr)["digest"]
            if found != layer.digest:
                raise UnpackError(
                    f"{layer.label}: it unpacks to {found}, but the image's configuration (diff_ids) promises {layer.digest}:"
                    " the image is damaged, or made wrongly"
                )
    finally:
        os.close(archive)
