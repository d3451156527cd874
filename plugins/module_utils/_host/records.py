# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records: what we own, what was asked for and what was assigned. Never what is: that is read from the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._errors import IsolationError
from .._version import VERSION
from .files import read_text, remove_empty_directories, remove_file, write_atomic

FORMAT = 1

_INDENTED = 100_000
"""Characters up to which a record is written with indentation."""


class RecordError(IsolationError):
    """A record can't be used."""


@dataclass(frozen=True)
class Record:
    """What is written down of one resource.

    `layer` is a layer's folder (`bridge`, `portmap`, `cgroup`, `rootfs`, `service`) or `id_range`. `spec` is what
    was asked for in canonical form, `assigned` what was chosen once and is kept from then on.
    """

    layer: str
    name: str
    project: str
    spec: t.Mapping[str, t.Any] = field(default_factory=dict)
    assigned: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The record's file. A name that is a path is joined with dots, which names can't contain."""
        return os.path.join(_paths.ETC, self.layer, self.name.replace("/", ".") + ".json")

    def text(self) -> str:
        """The record's file content."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "project": self.project,
            "spec": self.spec,
            "assigned": self.assigned,
        }
        text = json.dumps(document, sort_keys=True)
        # What people read is indented, which takes long and helps nobody where there are thousands of lines.
        return (json.dumps(document, indent=2, sort_keys=True) if len(text) <= _INDENTED else text) + "\n"


_READ: dict[str, tuple[tuple[int, ...], Record]] = {}
"""Records by path, with what told the file from others when it was read: one that is still there is read once."""


Hidden = t.List[t.Tuple[str, str, str]]

_TOLERANT: list[Hidden] = []
"""While somebody who may not read everything looks around: layer, name and reason of what could not be read."""


@contextlib.contextmanager
def tolerant() -> t.Iterator[Hidden]:
    """Pass over records that must not be read, and note the layer, the name (empty: the whole layer) and the reason of each."""
    hidden: Hidden = []
    _TOLERANT.append(hidden)
    try:
        yield hidden
    finally:
        _TOLERANT.remove(hidden)


def _hide(layer: str, name: str, error: OSError) -> None:
    """Note what can't be read, if that is tolerated.

    :raises OSError: it isn't.
    """
    if not _TOLERANT:
        raise error
    entry = (layer, name, f"{error.filename}: {error.strerror}")
    if entry not in _TOLERANT[-1]:
        _TOLERANT[-1].append(entry)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced or written: inode, size, times (ns)."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(layer: str, entry: os.DirEntry[str]) -> Record | None:
    """The record of a file; None if it has just been removed."""
    try:
        identity = _identity(entry.stat())
    except FileNotFoundError:
        return None
    known = _READ.get(entry.path)
    if known is not None and known[0] == identity:
        return known[1]
    try:
        text = read_text(entry.path)
    except PermissionError as error:
        # A name holds no dot but for the slash that one in the file's name stands for.
        _hide(layer, entry.name[: -len(".json")].replace(".", "/"), error)
        return None
    if text is None:
        return None
    record = _parse(layer, entry.path, text)
    _READ[entry.path] = (identity, record)
    return record


def _parse(layer: str, path: str, text: str) -> Record:
    try:
        document = json.loads(text)
        found = int(document["format"])
        if found > FORMAT:
            raise RecordError(
                f"{path}: written by a newer version of daemonless.isolation (format {found}, version"
                f" {document.get('version', 'unknown')}); this one reads format {FORMAT}: upgrade the collection"
            )
        return Record(layer, document["name"], document["project"], document["spec"], document["assigned"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a record ({error}): restore or remove the file, then run again") from error


def load_records(layer: str) -> dict[str, Record]:
    """All records of a layer by name; none if the host has none.

    :raises RecordError: a file is damaged, or newer than this version.
    """
    try:
        with os.scandir(os.path.join(_paths.ETC, layer)) as entries:
            files = [entry for entry in entries if entry.name.endswith(".json") and not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        _hide(layer, "", error)
        return {}
    found = (_read(layer, entry) for entry in sorted(files, key=lambda entry: entry.name))
    return {record.name: record for record in found if record is not None}


def check_project(layer: str, name: str, project: str, record: Record | None) -> None:
    """Refuse what belongs to another project.

    :raises RecordError: the record's project is not `project`.
    """
    if record is not None and record.project != project:
        raise RecordError(
            f"{layer} {name} belongs to project {record.project!r}, not {project!r}:"
            " choose another name, or set project"
        )


@dataclass(frozen=True)
class SaveRecord:
    """Step: write a record."""

    record: Record

    def run(self) -> None:
        """Write it atomically."""
        write_atomic(self.record.path, self.record.text(), 0o600)
        _READ[self.record.path] = (_identity(os.stat(self.record.path)), self.record)


@dataclass(frozen=True)
class DropRecord:
    """Step: remove a record, and the folders that it leaves empty."""

    record: Record

    def run(self) -> None:
        """Remove it."""
        remove_file(self.record.path)
        with contextlib.suppress(FileNotFoundError):
            remove_empty_directories(os.path.dirname(self.record.path), _paths.ETC)
