# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read archives that may be hostile, confined: `unpack KIND DIRECTORY MAX_SIZE MAX_ENTRIES`.

Managed by daemonless.isolation. Run as a program of its own, which has mount, pid, network, ipc and uts namespaces of
its own; the directory is all of its file system (pivot_root(2)), it keeps the few capabilities that ownership takes, and
its memory is limited. What is refused is named; answers are lines of JSON on standard output.

`archive` unpacks one from standard input. `layers` unpacks several on top of each other, whose descriptors it gets by
the Unix socket that is its standard input, and answers each. `peek` unpacks nothing, and has no directory: it answers
the content of an archive's short files.
"""

from __future__ import annotations

import base64
import ctypes
import io
import json
import os
import socket
import sys
import tarfile
import typing as t

from .archive import CHUNK, Archive, Refused, walk
from .confine import confine, run
from .layers import Layers
from .tree import Tree, split

SHORT = 4 << 20
"""Bytes that documents of an image have at most, as registries want it (distribution specification)."""
_SHORTS = 32 << 20


def _made(tree: Tree) -> dict[str, t.Any]:
    return {"size": tree.size, "entries": tree.entries, "devices": tree.devices, "xattrs_lost": tree.unlabelled}


def _allowance(max_size: int, max_entries: int) -> int:
    """Headers and padding come on top of the files' content; 2 KiB an entry is more than ordinary ones take."""
    return max_size + 2048 * max_entries


def unpack(stream: io.BufferedReader, root: int, max_size: int, max_entries: int) -> dict[str, t.Any]:
    """Unpack a whole archive below a directory's descriptor; return what was made.

    :raises Refused: an entry or the archive is not acceptable.
    """
    tree = Tree(root, max_size, max_entries)
    walk(stream, _allowance(max_size, max_entries), tree.add)
    tree.close()
    return _made(tree)


def unpack_layers(channel: socket.socket, root: int, max_size: int, max_entries: int) -> t.Iterator[dict[str, t.Any]]:
    """Unpack layers, lower ones first, until no more come. Answer for each the digest of what it unpacked to, then what was made.

    :raises Refused: an entry or a layer is not acceptable.
    """
    tree = Layers(root, max_size, max_entries)
    left = _allowance(max_size, max_entries)
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(channel, 1, 1)
        if not message:
            break
        tree.begin()
        with io.FileIO(descriptors[0]) as file:
            source = walk(io.BufferedReader(file, CHUNK), left, tree.add)
        left -= source.tell()
        yield {"digest": f"sha256:{source.sum.hexdigest()}"}
    tree.close()
    yield _made(tree)


def peek(stream: io.BufferedReader, max_size: int, max_entries: int) -> dict[str, t.Any]:
    """The content of an archive's short files by name, in base64.

    :raises Refused: the archive is not acceptable.
    """
    found: dict[str, str] = {}
    seen = length = 0

    def visit(archive: Archive, info: tarfile.TarInfo) -> None:
        nonlocal seen, length
        seen, length = seen + 1, length + (info.size if info.isreg() and info.size <= SHORT else 0)
        if seen > max_entries:
            raise Refused(f"it has more than {max_entries} entries: raise max_entries if that is meant", info.name)
        if not info.isreg() or info.size > SHORT:
            return
        if length > _SHORTS:
            raise Refused(f"its short files are longer than {_SHORTS} bytes together", info.name)
        content = archive.extractfile(info)
        name = "/".join(split(info.name, "its name", info.name))
        if content is not None:
            found[name] = base64.b64encode(content.read()).decode()

    walk(stream, _allowance(max_size, max_entries), visit)
    return {"files": found}


def _answers(kind: str, directory: str, max_size: int, max_entries: int) -> t.Iterator[dict[str, t.Any]]:
    try:
        confine(ctypes.CDLL(None, use_errno=True), None if kind == "peek" else directory)
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        if kind == "layers":
            with socket.socket(fileno=0) as channel:
                yield from unpack_layers(channel, root, max_size, max_entries)
            return
        stream: io.BufferedReader = io.BufferedReader(io.FileIO(0), CHUNK)
        yield peek(stream, max_size, max_entries) if kind == "peek" else unpack(stream, root, max_size, max_entries)
    except Refused as error:
        yield {"error": str(error), "entry": error.entry}
    except OSError as error:
        yield {"error": str(error), "entry": None}


def main(arguments: t.Sequence[str]) -> int:
    """Be the program."""
    kind, directory, max_size, max_entries = arguments

    def work() -> None:
        for answer in _answers(kind, directory, int(max_size), int(max_entries)):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    return run(work)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
