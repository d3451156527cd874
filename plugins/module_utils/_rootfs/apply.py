# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of root filesystems: where images come from, and what goes with the last that uses it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .. import _idrange, _paths
from .._errors import InvalidOption
from .._host import debian, fetch, images, oci_image, skopeo, tree
from .._host.extract import Limits, Unpacked, unpack_file, unpack_stream
from .._host.files import RemoveFile
from .._host.libexec import path as helper_path
from .._host.process import require_tool
from .._host.records import DropRecord, load_records
from .._image import digest_of
from .source_spec import (
    DebianSource,
    DirectorySource,
    LayoutSource,
    RegistrySource,
    SavedSource,
    Source,
    canonical_digest,
)
from .sources import image_of, label_of


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
class UnpackImage:
    """Step: add the image of a source to the store, unless it is there."""

    digest: str
    source: Source
    limits: Limits

    def run(self) -> None:
        """Fetch or make it, check it, unpack it, let it appear.

        :raises IsolationError: it can't be had, is not what was promised, or holds what is refused; nothing is left of it.
        """
        images.store(self.digest, self.source.canonical(), self._make)

    def _make(self, root: str, work: str) -> tuple[Unpacked, int]:
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


@dataclass(frozen=True)
class NeedTool:
    """Step: insist on a tool of the host."""

    tool: str

    def run(self) -> None:
        """Look for it.

        :raises ToolError: it is not installed.
        """
        require_tool(self.tool)


@dataclass(frozen=True)
class Release:
    """Step: give back what a service held, if its last root filesystem and its last instance are gone, and the helper with the host's last."""

    service: str
    helper: str

    def run(self) -> None:
        """Look at the records as they are now: an element that failed still needs its range."""
        rootfs, services = load_records("rootfs"), load_records("service")
        holders = {record.spec.get("service", record.name) for record in (*rootfs.values(), *services.values())}
        held = load_records(_idrange.LAYER).get(self.service)
        if held is not None and self.service not in holders:
            DropRecord(held).run()
        if not rootfs:
            RemoveFile(helper_path(self.helper), os.path.dirname(_paths.LIBEXEC)).run()
