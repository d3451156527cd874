# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a root filesystem, and its canonical form."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .. import _idrange
from .._errors import InvalidOption
from .._host.instances import LaidFile, content_digest
from .._host.unpacked import Limits
from .._names import check_name
from .._units import parse_size
from .source_spec import SOURCE, Source, absolute, parse_source

_MODE = re.compile(r"[0-7]{3,4}")
MODES = ("overlay", "read_only", "ephemeral")

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "service": {"type": "str"},
    "source": SOURCE,
    "pull": {"type": "str", "choices": ["missing", "always"], "default": "missing"},
    "mode": {"type": "str", "choices": list(MODES), "default": "overlay"},
    "size": {"type": "str"},
    "id_base": {"type": "int"},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str"},
            "state": {"type": "str", "choices": ["file", "directory"], "default": "file"},
            "content": {"type": "str"},
            "mode": {"type": "str"},
            "owner": {"type": "int", "default": 0},
            "group": {"type": "int", "default": 0},
            "sensitive": {"type": "bool", "default": False},
        },
    },
    "max_size": {"type": "str", "default": "16G"},
    "max_entries": {"type": "int", "default": 1000000},
    "force": {"type": "bool", "default": False},
    "prune_images": {"type": "bool", "default": False},
    "keep": {"type": "int"},
    "verify": {"type": "str", "choices": ["stat", "full"], "default": "stat"},
    "remote_src": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

RULES: dict[str, t.Any] = {"required_if": [("state", "present", ("source",))]}


@dataclass(frozen=True)
class FileSpec:
    """A file or directory to lay in. `sensitive` keeps what its content looks like out of diffs."""

    laid: LaidFile
    sensitive: bool

    @property
    def path(self) -> str:
        """Where it lies inside."""
        return self.laid.path

    @property
    def digest(self) -> str | None:
        """The sha256 of its content; None for a directory."""
        return None if self.laid.content is None else content_digest(self.laid.content)


@dataclass(frozen=True)
class RootfsSpec:
    """One root filesystem as it is asked for. `source` is None with state absent; `id_base` None means the service's own range."""

    name: str
    service: str
    source: Source | None
    mode: str
    size: int | None
    id_base: int | None
    files: tuple[FileSpec, ...]
    limits: Limits
    force: bool
    prune_images: bool
    present: bool
    keep: int | None = None
    verify: bool = False


def _file(given: t.Mapping[str, t.Any], name: str) -> FileSpec:
    option = f"{name}: files"
    path = absolute(given.get("path") or "", f"{option}.path")
    if path == "/" or path.split("/")[1] in ("dev", "proc", "sys"):
        raise InvalidOption(f"{option}: {path}: a service gets its own file system there: lay it in elsewhere")
    directory = given["state"] == "directory"
    content = given.get("content")
    if directory == (content is not None):
        raise InvalidOption(f"{option}: {path}: give content for a file, none for a directory")
    mode = given.get("mode") or ("0755" if directory else "0644")
    if not _MODE.fullmatch(mode):
        raise InvalidOption(f'{option}: {path}: mode {mode!r} is not an octal number in quotes, such as "0644"')
    owner, group = given["owner"], given["group"]
    for number in (owner, group):
        if not 0 <= number < _idrange.SIZE:
            raise InvalidOption(
                f"{option}: {path}: owner and group are ids inside the service, 0 to {_idrange.SIZE - 1}, not {number}"
            )
    data = None if content is None else content.encode("utf-8", "surrogateescape")
    return FileSpec(LaidFile(path, data, int(mode, 8), owner, group), given["sensitive"])


def _files(given: t.Sequence[t.Mapping[str, t.Any]], name: str) -> tuple[FileSpec, ...]:
    files = tuple(sorted((_file(item, name) for item in given), key=lambda file: file.path))
    paths = [file.path for file in files]
    for path in paths:
        if paths.count(path) > 1:
            raise InvalidOption(f"{name}: files: {path} is given more than once")
    plain = {file.path for file in files if file.laid.content is not None}
    for path in paths:
        if any(path.startswith(other + "/") for other in plain):
            raise InvalidOption(f"{name}: files: {path} lies below a file that is laid in, too")
    return files


def _check_remote(options: t.Mapping[str, t.Any], name: str) -> None:
    """What is on the controller is only known there: the action plugin replaces it."""
    source = options.get("source") or {}
    for kind, given in source.items():
        if given and given.get("path") and not given.get("_origin"):
            raise InvalidOption(
                f"{name}: remote_src: false: source.{kind}.path is on the controller, and nothing has sent it: call the"
                " module by its full name, daemonless.isolation.rootfs_prepare, so that its action plugin runs"
            )


def parse(options: t.Mapping[str, t.Any]) -> RootfsSpec:
    """One element's options.

    :raises InvalidOption: an option can't be meant.
    """
    name = check_name(options["name"])
    service = check_name(options.get("service") or name, f"{name}: service")
    mode = options["mode"]
    size = None if options.get("size") is None else parse_size(options["size"], f"{name}: size")
    if mode == "ephemeral":
        size = size or parse_size("64M", "size")
        if size < 65536:
            raise InvalidOption(f"{name}: size: {size} bytes are too few for a layer in memory: at least 64K")
        size = -(-size // 65536) * 65536  # whole pages on every architecture: the kernel's answer is compared
    elif size is not None:
        raise InvalidOption(f"{name}: size: only a root filesystem of mode ephemeral has one, not {mode}")
    id_base = options.get("id_base")
    if id_base is not None and not _idrange.SIZE <= id_base <= _idrange.LAST:
        raise InvalidOption(f"{name}: id_base: {id_base} is not between {_idrange.SIZE} and {_idrange.LAST}")
    entries = options["max_entries"]
    if entries < 1:
        raise InvalidOption(f"{name}: max_entries: {entries} is not a number of entries")
    keep = options.get("keep")
    if keep is not None and keep < 0:
        raise InvalidOption(f"{name}: keep: {keep} is not a number of root filesystems")
    present = options["state"] == "present"
    if present and options.get("remote_src") is False:
        _check_remote(options, name)
    return RootfsSpec(
        name=name,
        service=service,
        source=parse_source(options["source"], name, options.get("pull") == "always") if present else None,
        mode=mode,
        size=size,
        id_base=id_base,
        files=_files(options.get("files") or [], name),
        limits=Limits(parse_size(options["max_size"], f"{name}: max_size"), entries),
        force=bool(options.get("force")),
        prune_images=bool(options.get("prune_images")),
        present=present,
        keep=keep if present else None,
        verify=present and options.get("verify") == "full",
    )
