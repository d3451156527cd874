# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a source has now: the digest of the image that it stands for. Reads only."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._errors import InvalidOption
from .._host import fetch
from .._host.images import Image
from .._host.records import Record
from .source_spec import (
    DebianSource,
    DirectorySource,
    LayoutSource,
    RegistrySource,
    SavedSource,
    Source,
    TarSource,
    canonical_digest,
)
from .spec import RootfsSpec

Known = t.Mapping[str, Image]


@dataclass(frozen=True)
class Archive:
    """An archive of the host whose digest was computed: as long as its `identity` is the same, so is its digest."""

    digest: str
    identity: tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """What a source says: the image's digest, or which tool that is missing would tell it; the archive, if one was read."""

    digest: str | None
    archive: Archive | None = None
    missing: str | None = None


def noted(record: Record | None, source: Source, identity: tuple[int, ...]) -> str | None:
    """The digest that a record tells of an archive that is still the same, and was asked for in the same way."""
    archive = record.assigned.get("archive") if record is not None else None
    if record is None or archive is None or tuple(archive["identity"]) != identity:
        return None
    return str(archive["digest"]) if record.spec["source"] == source.canonical() else None


def _archive(source: TarSource, record: Record | None, there: Known) -> Told:
    """The digest of an archive. It is read only if the image is missing, or nothing but its content tells what it is.

    :raises InvalidOption: it can't be read, or has another checksum than the one that was given.
    """
    elsewhere = source.path is None or source.origin is not None
    if source.checksum is not None and (elsewhere or source.checksum in there):
        return Told(source.checksum)
    descriptor = fetch.open_archive(t.cast("str", source.path), "source.tar.path")
    try:
        identity = fetch.identity(os.fstat(descriptor))
        known = noted(record, source, identity)
        if source.checksum is None and known is not None:
            return Told(known, Archive(known, identity))
        found = fetch.digest(descriptor)
    finally:
        os.close(descriptor)
    if source.checksum is not None:
        fetch.check_digest(f"source.tar: {source.path}", source.checksum, found)
        return Told(found)
    return Told(found, Archive(found, identity))


def resolve(spec: RootfsSpec, record: Record | None, there: Known) -> Told:
    """The digest of the image that a spec's source stands for. `there` has the images of the store.

    :raises IsolationError: the source can't be read, or has no image for this host.
    """
    source = spec.source
    if isinstance(source, TarSource):
        return _archive(source, record, there)
    if isinstance(source, (LayoutSource, SavedSource, RegistrySource)):
        from . import image_sources  # what it takes to read images is not loaded for other sources

        return image_sources.resolve(source, spec.limits, record, there)
    if isinstance(source, DirectorySource):
        from .._host import tree

        if not os.path.isdir(source.path):
            raise InvalidOption(f"{spec.name}: source.directory.path: {source.path} is not a directory of this host")
        return Told(canonical_digest({"manifest": tree.manifest_digest(source.path), "revision": source.revision}))
    if isinstance(source, DebianSource):
        return Told(canonical_digest({**source.canonical(), "machine": os.uname().machine}))
    raise InvalidOption(f"{spec.name}: source: needed")
