# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container images as files: layouts of OCI, directories that skopeo copies to, and what `docker save` writes.

Each document and each layer is compared with its digest and its size before it is opened, and each layer once more
after it is unpacked, with what the image's configuration promises.
"""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass

from .._image import (
    Config,
    Descriptor,
    ImageError,
    check_platform,
    choose_entry,
    choose_platform,
    choose_saved,
    digest_of,
    is_index,
    layer_compression,
    parse_config,
    parse_index,
    parse_manifest,
    parse_saved,
)
from . import fetch
from .extract import PLAIN, Layer, compression, peek_file, unpack_layers
from .inroot import open_in_root
from .unpacked import Limits, Unpacked

_SHORT = 4 << 20
"""Bytes that documents of an image have at most, as registries want it (distribution specification)."""
_NESTED = 4
_ENTRIES = 100000
"""Entries of an archive of images at most: layers and documents, not files of root filesystems."""


class Files(t.Protocol):
    """Where documents come from. `label` names it in errors."""

    label: str

    def short(self, name: str) -> bytes:
        """The content of a document.

        :raises ImageError: it is not there, or too long.
        """


class Folder:
    """A directory of an image's files. Links in it mean what lies in it: a hostile one leads nowhere else."""

    def __init__(self, path: str, label: str) -> None:
        self.path = path
        self.label = label

    def open(self, name: str) -> int:
        """A descriptor of a file.

        :raises ImageError: it is not there, or no regular file.
        """
        try:
            root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                descriptor = open_in_root(root, name, os.O_RDONLY | os.O_NONBLOCK)
            finally:
                os.close(root)
        except OSError as error:
            raise ImageError(f"{self.label}: {name}: {error.strerror}: copy the image here as a whole") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ImageError(f"{self.label}: {name}: not a regular file")
        return descriptor

    def short(self, name: str) -> bytes:
        """The content of a document."""
        with open(self.open(name), "rb") as stream:
            data = stream.read(_SHORT + 1)
        if len(data) > _SHORT:
            raise ImageError(f"{self.label}: {name}: longer than {_SHORT} bytes, which no document of an image is")
        return data


class Peeked:
    """The documents of an archive that is not unpacked. `archive` is an open file; `limits` bound what it unpacks to."""

    _known: t.ClassVar[dict[tuple[int, ...], dict[str, bytes]]] = {}

    def __init__(self, archive: int, label: str, limits: Limits) -> None:
        self.label = label
        key = fetch.identity(os.fstat(archive))
        if key not in self._known:
            self._known[key] = peek_file(archive, label, limits)
        self._files = self._known[key]

    def short(self, name: str) -> bytes:
        """The content of a document."""
        try:
            return self._files[os.path.normpath(name)]
        except KeyError:
            raise ImageError(
                f"{self.label}: {name}: not in the archive: is it one of the kind that was given?"
            ) from None


@dataclass(frozen=True)
class Blob:
    """A layer as a file: `digest`, `size` and `packing` are None where only the configuration tells what it is."""

    name: str
    digest: str | None
    size: int | None
    packing: str | None
    diff_id: str


@dataclass(frozen=True)
class Found:
    """An image that was chosen: its digest, its layers, lower ones first, and the bytes that it takes as files."""

    digest: str
    layers: tuple[Blob, ...]
    size: int


def blob_path(digest: str) -> str:
    """Where a layout has a blob (image-layout specification)."""
    return "blobs/" + digest.replace(":", "/")


def copied_path(digest: str) -> str:
    """Where a directory that skopeo copies to has a blob."""
    return digest.partition(":")[2]


def _checked(files: Files, name: str, digest: str, size: int) -> bytes:
    """A document that is what its descriptor says."""
    data = files.short(name)
    _compare(f"{files.label}: {name}", (digest, size), (digest_of(data), len(data)))
    return data


def _compare(label: str, expected: tuple[str, int], found: tuple[str, int]) -> None:
    if expected != found:
        raise ImageError(
            f"{label}: damaged or cut off: expected {expected[0]} of {expected[1]} bytes, found {found[0]} of {found[1]} bytes:"
            " copy the image here again"
        )


def _layers(files: Files, config: Config, machine: str, count: int) -> None:
    check_platform(config.platform, machine, files.label)
    if len(config.diff_ids) != count:
        raise ImageError(
            f"{files.label}: {count} layers, but the configuration tells of {len(config.diff_ids)}: it is damaged"
        )


def manifest_image(files: Files, data: bytes, machine: str, locate: t.Callable[[str], str]) -> Found:
    """The image of a manifest, whose blobs lie where `locate` says.

    :raises ImageError: it is damaged, or not for this machine.
    """
    digest = digest_of(data)
    manifest = parse_manifest(data, f"{files.label}: manifest {digest}")
    label = f"{files.label}: configuration {manifest.config.digest}"
    config = parse_config(
        _checked(files, locate(manifest.config.digest), manifest.config.digest, manifest.config.size), label
    )
    _layers(files, config, machine, len(manifest.layers))
    layers = tuple(
        Blob(locate(layer.digest), layer.digest, layer.size, layer_compression(layer, files.label), diff_id)
        for layer, diff_id in zip(manifest.layers, config.diff_ids)
    )
    return Found(digest, layers, len(data) + manifest.config.size + sum(layer.size for layer in manifest.layers))


def layout_choice(files: Files, reference: str | None, machine: str) -> tuple[str, bytes]:
    """The digest of the image of a layout that a reference means, and its manifest; an index is resolved to the machine's image.

    :raises InvalidOption: there is no such reference.
    :raises ImageError: the layout is damaged, or has no image for this machine.
    """
    _check_layout(files)
    label = f"{files.label}: index.json"
    chosen: Descriptor = choose_entry(parse_index(files.short("index.json"), label), reference, machine, files.label)
    for _level in range(_NESTED):
        data = _checked(files, blob_path(chosen.digest), chosen.digest, chosen.size)
        label = f"{files.label}: {chosen.digest}"
        if not is_index(data, label):
            return chosen.digest, data
        chosen = choose_platform(parse_index(data, label), machine, label)
    raise ImageError(f"{files.label}: its indexes refer to each other more than {_NESTED} levels deep")


def _check_layout(files: Files) -> None:
    if b"imageLayoutVersion" not in files.short("oci-layout"):
        raise ImageError(f"{files.label}: oci-layout: it has no imageLayoutVersion: not an image layout of OCI")


def layout_image(files: Files, reference: str | None, machine: str) -> Found:
    """The image of a layout that a reference means. Errors as with `layout_choice`."""
    return manifest_image(files, layout_choice(files, reference, machine)[1], machine, blob_path)


def saved_image(files: Files, reference: str | None, machine: str) -> Found:
    """The image of what `docker save` has written that a reference means. Its digest is that of its configuration.

    :raises InvalidOption: there is no such reference.
    :raises ImageError: it is damaged, or has no image for this machine.
    """
    chosen = choose_saved(
        parse_saved(files.short("manifest.json"), f"{files.label}: manifest.json"), reference, files.label
    )
    data = files.short(chosen.config)
    digest = digest_of(data)
    named = os.path.basename(chosen.config).partition(".")[0]
    if len(named) == 64 and f"sha256:{named}" != digest:
        raise ImageError(f"{files.label}: {chosen.config}: damaged: its content has the digest {digest}: save it again")
    config = parse_config(data, f"{files.label}: {chosen.config}")
    _layers(files, config, machine, len(chosen.layers))
    layers = tuple(Blob(name, None, None, None, diff_id) for name, diff_id in zip(chosen.layers, config.diff_ids))
    return Found(digest, layers, len(data))


def _open_layer(folder: Folder, blob: Blob, label: str) -> int:
    """A descriptor of a layer that is what was promised, as far as that can be told before it is unpacked."""
    descriptor = folder.open(blob.name)
    try:
        size, packing = os.fstat(descriptor).st_size, compression(descriptor)
        if blob.digest is not None and blob.size is not None:
            expected = (blob.digest, blob.size)
            if blob.size != size:
                _compare(label, expected, ("a file", size))
            _compare(label, expected, (fetch.digest(descriptor), size))
        elif packing == PLAIN:
            _compare(label, (blob.diff_id, size), (fetch.digest(descriptor), size))
        if blob.packing not in (None, packing):
            raise ImageError(
                f"{label}: its media type says {blob.packing}, but its content is {packing}, or something unknown"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unpack(folder: Folder, image: Found, root: str, limits: Limits) -> Unpacked:
    """Unpack an image's layers into an empty directory.

    :raises IsolationError: a layer is damaged, or has an entry that is refused.
    """

    def layer(number: int, blob: Blob) -> Layer:
        label = f"{folder.label}: layer {number} of {len(image.layers)}, {blob.digest or blob.name}"
        return Layer(label, blob.diff_id, lambda: _open_layer(folder, blob, label))

    layers = [layer(number, blob) for number, blob in enumerate(image.layers, 1)]
    return unpack_layers(layers, folder.label, root, limits)


def outer_limits(limits: Limits) -> Limits:
    """What an archive of images may take while it is looked into or laid out, if its image may take `limits`."""
    return Limits(limits.size + _SHORT, _ENTRIES)
