# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading archives, hostile ones among them: forward only, strictly, and never more than was allowed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import typing as t
import zlib

CHUNK = 1 << 18
HEADER = 16 << 20
"""Bytes that are read at once at most: what a pax header may take, which is kept in memory."""


class Refused(Exception):
    """The archive can't be unpacked; `entry` names the entry that is why."""

    def __init__(self, message: str, entry: str | None = None) -> None:
        super().__init__(message)
        self.entry = entry


class Input(io.RawIOBase):
    """The unpacked byte stream: forward only, counted, hashed, and never longer than its limit."""

    def __init__(self, source: t.IO[bytes], limit: int) -> None:
        self.sum = hashlib.sha256()
        self._source = source
        self._limit = limit
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How much has been read."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        if size > HEADER:
            raise Refused(f"a header of {size} bytes is longer than any that means something")
        parts = []
        while size != 0:
            part = self._source.read(min(size, CHUNK) if size > 0 else CHUNK)
            if not part:
                break
            self._position += len(part)
            if self._position > self._limit:
                raise Refused(f"the archive unpacks to more than {self._limit} bytes: raise max_size if that is meant")
            self.sum.update(part)
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skip forward."""
        missing = offset - self._position
        if whence != io.SEEK_SET or missing < 0:
            raise tarfile.ReadError("the archive refers back to what has been read")
        while missing > 0:
            part = self.read(min(missing, CHUNK))
            if not part:
                raise tarfile.ReadError("unexpected end of data")
            missing -= len(part)
        return self._position


class Archive(tarfile.TarFile):
    """A tar archive that is read strictly: what is no header, and a missing end, are errors (the standard class takes both for the end)."""

    firstmember: tarfile.TarInfo | None
    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        """The next entry, or None at the end-of-archive block (pax(1))."""
        first: tarfile.TarInfo | None = self.firstmember
        self.firstmember = None
        if first is not None:
            return first
        t.cast("Input", self.fileobj).seek(self.offset)
        try:
            return tarfile.TarInfo.fromtarfile(self)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":
                return None
            raise


def decompress(stream: io.BufferedReader) -> t.IO[bytes]:
    """The content of gzip, xz or bzip2 data, or of plain data as it is."""
    magic = stream.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        return t.cast("t.IO[bytes]", gzip.GzipFile(fileobj=stream))
    if magic.startswith(b"\xfd7zXZ\0"):
        return t.cast("t.IO[bytes]", lzma.LZMAFile(stream))
    if magic.startswith(b"BZh"):
        return t.cast("t.IO[bytes]", bz2.BZ2File(stream))
    return stream


def walk(stream: io.BufferedReader, limit: int, visit: t.Callable[[Archive, tarfile.TarInfo], None]) -> Input:
    """Visit each entry of an archive that unpacks to at most `limit` bytes; return its stream, which has been read to its end.

    :raises Refused: it is damaged, cut off or too long, or a visit failed; the error names the last entry.
    """
    source = Input(decompress(stream), limit)
    entry: str | None = None
    try:
        archive = Archive(fileobj=t.cast("t.IO[bytes]", source), mode="r", encoding="utf-8", errors="surrogateescape")
        while True:
            info = archive.next()
            if info is None:
                break
            archive.members = []
            entry = info.name
            visit(archive, info)
        entry = None
        while source.read(CHUNK):  # checksums of compressed data stand at its end
            pass
    except tarfile.TarError as error:
        where = f"after {entry}" if entry else "at its beginning"
        raise Refused(
            f"it is damaged or cut off, or no tar archive (plain, or compressed by gzip, xz, bzip2 or zstd), {where}: {error}"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(f"its compressed data is damaged or cut off: {error}", entry) from error
    except (OSError, ValueError, MemoryError) as error:
        raise Refused(f"{type(error).__name__}: {error}", entry) from error
    return source
