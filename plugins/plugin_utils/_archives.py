# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and images that are on the controller: what digest a host knows them by, and how they are packed to be sent."""

from __future__ import annotations

import copy
import hashlib
import os
import tarfile
import typing as t
from dataclasses import dataclass

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils._errors import IsolationError
from ..module_utils._host import oci_image, tree

KINDS = ("tar", "directory", "oci_layout", "docker_archive")
"""Kinds of source that have a path."""

_CHUNK = 1 << 20
_DOCUMENT = 4 << 20


@dataclass(frozen=True)
class Local:
    """What one or more elements want of the controller: the suboption of `source`, the path as it was given, and as it was found."""

    kind: str
    given: str
    path: str
    reference: str | None = None
    checksum: str | None = None


class Place(t.NamedTuple):
    """An element of a task whose source is on the controller: the dictionary that it comes from, and its source."""

    element: dict[str, t.Any]
    kind: str
    source: dict[str, t.Any]
    verify: bool


def places(arguments: dict[str, t.Any]) -> list[Place]:
    """The elements whose source is on the controller. What is no valid element is left to the module, which says so."""
    found = []
    aggregate = arguments.get("aggregate")
    for element in aggregate if isinstance(aggregate, list) else [arguments]:
        if not isinstance(element, dict):
            continue

        def chosen(option: str, default: t.Any = None, own: dict[str, t.Any] = element) -> t.Any:
            value = own.get(option)
            value = arguments.get(option) if value is None else value
            return default if value is None else value

        source = chosen("source")
        if chosen("state", "present") != "present" or boolean(chosen("remote_src", True), strict=False):
            continue
        if not isinstance(source, dict):
            continue
        verify = chosen("verify") == "full"
        given = {kind: source[kind] for kind in KINDS if isinstance(source.get(kind), dict)}
        found += [Place(element, kind, options, verify) for kind, options in given.items() if options.get("path")]
    return found


class _Sink:
    """Where a tar archive goes that is only wanted for its digest."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Take a part."""
        self.hash.update(data)
        return len(data)


class _Documents:
    """The documents of an image in an archive, as far as anybody asks for them."""

    def __init__(self, path: str, label: str) -> None:
        self.label = label
        self._archive = tarfile.open(path)  # noqa: SIM115 - closed with the process that asks
        self._members = {os.path.normpath(member.name): member for member in self._archive}

    def short(self, name: str) -> bytes:
        """The content of a document.

        :raises IsolationError: there is none of that name.
        """
        member = self._members.get(os.path.normpath(name))
        stream = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if stream is None:
            raise IsolationError(f"{self.label}: {name}: not in the archive: is it one of the kind that was given?")
        return stream.read(_DOCUMENT)


def file_digest(path: str) -> str:
    """The digest (`sha256:…`) of a file.

    :raises OSError: it can't be read.
    """
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while True:
            part = stream.read(_CHUNK)
            if not part:
                return f"sha256:{found.hexdigest()}"
            found.update(part)


def _pack_layout(path: str, stream: t.IO[bytes]) -> None:
    """An image layout as a tar archive. Owners and times say nothing of an image."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        return info

    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in ("oci-layout", "index.json", "blobs"):
            archive.add(os.path.join(path, name), name, filter=plain)


def pack(local: Local, stream: t.IO[bytes]) -> None:
    """Write a directory as the tar archive that is sent. The same content makes the same archive.

    :raises IsolationError: it can't be read.
    :raises OSError: it can't be read, or there is no room.
    """
    if local.kind == "oci_layout":
        _pack_layout(local.path, stream)
    else:
        tree.write_tar(local.path, stream)


def digest_of(local: Local, machine: str) -> str:
    """The digest by which a host of an architecture (`uname -m`) knows the image.

    :raises AnsibleActionFail: it can't be read, or is another than the one of the checksum that was given.
    """
    label = f"source.{local.kind}: {local.given}"
    try:
        if local.kind == "tar":
            found = file_digest(local.path)
            expected = (local.checksum or found).strip().lower()
            if expected != found:
                raise AnsibleActionFail(
                    f"{label}: wrong checksum: expected {expected}, found {found}: the file on the controller is damaged,"
                    " or another one is meant; nothing was sent"
                )
            return found
        if local.kind == "directory":
            sink = _Sink()
            tree.write_tar(local.path, t.cast("t.IO[bytes]", sink))
            return f"sha256:{sink.hash.hexdigest()}"
        files: oci_image.Files
        if os.path.isdir(local.path):
            files = oci_image.Folder(local.path, label)
        else:
            files = _Documents(local.path, label)
        if local.kind == "oci_layout":
            return oci_image.layout_choice(files, local.reference, machine)[0]
        return oci_image.saved_image(files, local.reference, machine).digest
    except (IsolationError, OSError, tarfile.TarError) as error:
        raise AnsibleActionFail(f"{label}: on the controller: {error}") from error


def replacement(local: Local, digest: str, sent: str | None) -> dict[str, t.Any]:
    """The source that stands for one of the controller, for the module: `sent` is where its archive is on the host."""
    if local.kind in ("tar", "directory"):
        return {"tar": {"path": sent, "checksum": digest, "_origin": local.given}}
    return {local.kind: {"path": sent, "reference": local.reference, "_digest": digest, "_origin": local.given}}


def plain_copy(arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A task's arguments as dictionaries that can be changed."""
    return copy.deepcopy(dict(arguments))


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:.1f} MB"


def _names(names: t.Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def progress(results: t.Any) -> list[str]:
    """What a task has done, one line for each image of what it has changed."""
    groups: dict[str, list[dict[str, t.Any]]] = {}
    for entry in results if isinstance(results, list) else []:
        found = entry.get("rootfs") or {}
        if entry.get("changed") and not entry.get("failed") and found.get("digest"):
            groups.setdefault(found["digest"], []).append(found)
    lines = []
    for digest, group in groups.items():
        one, names = group[0], _names([found["name"] for found in group])
        if one.get("seconds") is not None:
            told = (
                f"fetched {megabytes(one['fetched'])}, unpacked {megabytes(one['size'])}, {one['entries']} entries"
                f" in {one['seconds']:.1f} s"
            )
        elif one.get("cached"):
            told = f"image {digest[:19]}… from the store"
        else:
            told = f"image {digest[:19]}… is not there yet"
        lines.append(f"rootfs {names}: {told}")
    return lines
