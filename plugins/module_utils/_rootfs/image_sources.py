# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The digest of an image in a layout, an archive or a registry. Reads only."""

from __future__ import annotations

import os

from .._host import fetch, oci_image, skopeo
from .._host.access import Access
from .._host.process import find_tool
from .._host.records import Record, load_records
from .._host.unpacked import Limits
from .._image import (
    ImageError,
    check_platform,
    choose_platform,
    digest_of,
    is_index,
    parse_config,
    parse_index,
    parse_manifest,
)
from .source_spec import LayoutSource, RegistrySource, SavedSource
from .sources import Archive, Known, Told, noted


def image_of(files: oci_image.Files, source: LayoutSource | SavedSource) -> oci_image.Found:
    """The image that a source means, by the documents in `files`.

    :raises IsolationError: it is not there, is damaged, or not for this host.
    """
    find = oci_image.layout_image if isinstance(source, LayoutSource) else oci_image.saved_image
    return find(files, source.reference, os.uname().machine)


def label_of(source: LayoutSource | SavedSource) -> str:
    """How errors name a source."""
    return f"source.{source.option}: {source.path}"


def _image(source: LayoutSource | SavedSource, record: Record | None, there: Known, limits: Limits) -> Told:
    """The digest of an image in a directory or an archive.

    Nothing is read if the reference is a digest whose image is there; an archive only if it is not the one that the
    record tells of.
    """
    if source.digest is not None:
        return Told(source.digest)
    if source.reference in there:
        return Told(source.reference)
    label = label_of(source)
    if isinstance(source, LayoutSource) and os.path.isdir(source.path):
        return Told(image_of(oci_image.Folder(source.path, label), source).digest)
    descriptor = fetch.open_archive(source.path, f"source.{source.option}.path")
    try:
        identity = fetch.identity(os.fstat(descriptor))
        digest = noted(record, source, identity)
        if digest is None:
            digest = image_of(oci_image.Peeked(descriptor, label, oci_image.outer_limits(limits)), source).digest
    finally:
        os.close(descriptor)
    return Told(digest, Archive(digest, identity))


_answers: dict[tuple[str, Access], str] = {}
"""What registries have answered this process: one run believes one answer."""


def _newest(source: RegistrySource, there: Known) -> str | None:
    """The digest of the image of the store that came last from the same reference, by its own description or by somebody's record."""
    asked = source.canonical()
    told = {record.assigned["digest"] for record in load_records("rootfs").values() if record.spec["source"] == asked}
    images = [image for image in there.values() if image.source == asked or image.digest in told]
    return max(images, key=lambda image: os.stat(f"{image.path}/image.json").st_mtime_ns).digest if images else None


def _pulled(source: RegistrySource, record: Record | None, there: Known) -> Told:
    """The digest of an image of a registry, which is asked only if nothing of this host tells it.

    :raises SkopeoError: the registry refused, or can't be reached.
    :raises ImageError: it has no image for this host.
    """
    if source.digest in there:
        return Told(source.digest)
    if source.digest is not None or not source.always:  # a digest may be that of an index, which never changes
        mine = record.assigned["digest"] if record is not None and record.spec["source"] == source.canonical() else None
        known = mine if mine in there else _newest(source, there)
        if known is not None:
            return Told(known)
    if find_tool("skopeo") is None:
        return Told(None, missing="skopeo")
    key = (source.by(source.digest), source.access)
    if key not in _answers:
        _answers[key] = _ask(source, there)
    return Told(_answers[key])


def _ask(source: RegistrySource, there: Known) -> str:
    reference, machine = source.by(source.digest), os.uname().machine
    label = f"source.registry: {reference}"
    data = skopeo.inspect(reference, source.access)
    if source.digest is not None and digest_of(data) != source.digest:
        raise ImageError(f"{label}: the registry answers with something else, of digest {digest_of(data)}")
    digest = digest_of(data)
    if is_index(data, label):
        digest = choose_platform(parse_index(data, label), machine, label).digest
        if digest in there:
            return digest
        reference = source.by(digest)
        data = skopeo.inspect(reference, source.access)
    if digest not in there:
        parse_manifest(data, label)
        config = skopeo.inspect_config(source.by(digest), source.access)
        check_platform(parse_config(config, label).platform, machine, label)
    return digest


def resolve(
    source: LayoutSource | SavedSource | RegistrySource, limits: Limits, record: Record | None, there: Known
) -> Told:
    """The digest of the image that a source means. `there` has the images of the store.

    :raises IsolationError: the source can't be read, or has no image for this host.
    """
    if isinstance(source, RegistrySource):
        return _pulled(source, record, there)
    return _image(source, record, there, limits)
