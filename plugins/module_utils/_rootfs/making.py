# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an image comes from its source into a directory."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._errors import InvalidOption
from .._host import debian, fetch, oci_image, skopeo, tree
from .._host.extract import unpack_file, unpack_stream
from .._host.unpacked import Limits, Unpacked
from .._image import digest_of
from .image_sources import image_of, label_of
from .source_spec import (
    DebianSource,
    DirectorySource,
    LayoutSource,
    RegistrySource,
    SavedSource,
    Source,
    canonical_digest,
)


def _unpack(path: str, label: str, expected: str | None, root: str, limits: Limits) -> tuple[Unpacked, int]:
    """Unpack an archive whose digest is `expected`, by the one descriptor that was checked."""
    descriptor = fetch.open_archive(path, label)
    try:
        if expected is not None:
            fetch.check_digest(label, expected, fetch.digest(descriptor))
        return unpack_file(descriptor, label, root, limits), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Maker:
    """The image of a digest, from its source."""

    digest: str
    source: Source
    limits: Limits

    def make(self, root: str, work: str) -> tuple[Unpacked, int]:
        """Fill a root directory, with a directory to work in; what was unpacked, and how many bytes were fetched.

        :raises IsolationError: it can't be had, is not what was promised, or holds what is refused.
        """
        source, archive = self.source, os.path.join(work, "archive")
        if isinstance(source, DirectorySource):
            unpacked = unpack_stream(
                lambda stream: tree.write_tar(source.path, stream),
                f"source.directory: {source.path}",
                root,
                self.limits,
            )
            self._check_unchanged(source)
            return unpacked, unpacked.size
        if isinstance(source, (LayoutSource, SavedSource)):
            return self._unpack_image(source, root, work)
        if isinstance(source, RegistrySource):
            return self._pull(source, root, work)
        if isinstance(source, DebianSource):
            debian.bootstrap(source.suite, source.variant, source.include, source.mirror, archive, work)
            return _unpack(archive, f"source.debian: {source.suite}", None, root, self.limits)
        if source.url is not None:
            fetch.download(source.url, archive, self.limits.size)
            return _unpack(archive, f"source.tar: {source.url}", self.digest, root, self.limits)
        return _unpack(t.cast("str", source.path), f"source.tar: {source.path}", self.digest, root, self.limits)

    def _unpack_image(self, source: LayoutSource | SavedSource, root: str, work: str) -> tuple[Unpacked, int]:
        """Unpack an image of a directory, or of an archive, which is laid out in the work directory first."""
        label, path, fetched = label_of(source), source.path, None
        if not isinstance(source, LayoutSource) or not os.path.isdir(path):
            path = os.path.join(work, "layout")
            os.mkdir(path)
            descriptor = fetch.open_archive(source.path, f"source.{source.option}.path")
            try:
                unpack_file(descriptor, label, path, oci_image.outer_limits(self.limits))
                fetched = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        folder = oci_image.Folder(path, label)
        found = image_of(folder, source)
        if found.digest != self.digest:
            raise InvalidOption(f"{label}: it changed while it was read: run again")
        unpacked = oci_image.unpack(folder, found, root, self.limits)
        return unpacked, found.size if fetched is None else fetched

    def _pull(self, source: RegistrySource, root: str, work: str) -> tuple[Unpacked, int]:
        """Copy an image by its digest, whatever its tag means by now, and unpack it."""
        reference = source.by(self.digest)
        folder = oci_image.Folder(os.path.join(work, "layout"), f"source.registry: {reference}")
        skopeo.copy(reference, source.access, folder.path)
        manifest = folder.short("manifest.json")
        fetch.check_digest(folder.label, self.digest, digest_of(manifest))
        found = oci_image.manifest_image(folder, manifest, os.uname().machine, oci_image.copied_path)
        return oci_image.unpack(folder, found, root, self.limits), found.size

    def _check_unchanged(self, source: DirectorySource) -> None:
        found = canonical_digest({"manifest": tree.manifest_digest(source.path), "revision": source.revision})
        if found != self.digest:
            raise InvalidOption(f"source.directory: {source.path} changed while it was copied: run again")
