# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of images: read-only root filesystems, one for each digest, whole or not there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError
from .extract import Unpacked
from .files import make_directories, read_text, remove_empty_directories, sync_directory, write_atomic
from .mounts import mounts, overlay_layers, sync_filesystem

FORMAT = 1
_STAGED = ".staged-"

unpacked_now: set[str] = set()
"""Digests of the images that this process has unpacked: everything else came from the store."""


@dataclass(frozen=True)
class Image:
    """An image as its image.json describes it: sizes in bytes, `fetched` that of the archive."""

    digest: str
    source: t.Mapping[str, t.Any]
    size: int
    entries: int
    devices: int
    fetched: int

    @property
    def path(self) -> str:
        """Its directory, which holds image.json and rootfs."""
        return folder(self.digest)


def folder(digest: str) -> str:
    """The directory of an image; the colon of a digest would separate layers of an overlay."""
    return os.path.join(_paths.IMAGES, digest.replace(":", "-"))


def load(digest: str) -> Image | None:
    """An image of the store, or None if it is not there (or is no whole image of ours)."""
    text = read_text(os.path.join(folder(digest), "image.json"))
    if text is None or not os.path.isdir(os.path.join(folder(digest), "rootfs")):
        return None
    try:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            return None
        return Image(**document)
    except (ValueError, TypeError, KeyError):
        return None


def load_all() -> dict[str, Image]:
    """All images of the store by digest."""
    try:
        entries = sorted(os.listdir(_paths.IMAGES))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = (load(entry.replace("-", ":", 1)) for entry in entries if not entry.startswith("."))
    return {image.digest: image for image in found if image is not None}


def remove_staged() -> None:
    """Remove what killed runs have left. The caller holds the host's lock."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(_paths.IMAGES):
            if entry.startswith(_STAGED):
                shutil.rmtree(os.path.join(_paths.IMAGES, entry))


@contextlib.contextmanager
def workspace() -> t.Iterator[str]:
    """A directory in the store to make an image in; it is removed in the end. The caller holds the host's lock."""
    make_directories(_paths.IMAGES, 0o700)
    os.chmod(_paths.IMAGES, 0o700)
    remove_staged()
    path = os.path.join(_paths.IMAGES, f"{_STAGED}{os.getpid()}")
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def store(digest: str, source: t.Mapping[str, t.Any], make: t.Callable[[str, str], tuple[Unpacked, int]]) -> None:
    """Add an image unless it is there. `make` fills a root directory, has a directory to work in, and returns what it unpacked and fetched.

    The image appears by one rename(2), after all of it is on the disk.

    :raises IsolationError: it can't be made; nothing is left of it.
    """
    if load(digest) is not None:
        return
    with workspace() as work:
        staged = os.path.join(work, "image")
        root = os.path.join(staged, "rootfs")
        os.makedirs(root)
        os.chmod(root, 0o755)  # noqa: S103 - the root directory of a service; the store itself is 0700
        try:
            unpacked, fetched = make(root, work)
            image = Image(digest, source, unpacked.size, unpacked.entries, unpacked.devices, fetched)
            text = json.dumps({"format": FORMAT, **dataclasses.asdict(image)}, indent=2, sort_keys=True) + "\n"
            write_atomic(os.path.join(staged, "image.json"), text, 0o600)
            sync_filesystem(staged)
            if os.path.isdir(folder(digest)):  # damaged: it has no image.json that can be read
                os.rename(folder(digest), os.path.join(work, "damaged"))
            os.rename(staged, folder(digest))
        except OSError as error:
            raise IsolationError(f"image {digest}: {error.strerror}: {error.filename or _paths.IMAGES}") from error
        sync_directory(_paths.IMAGES)
    unpacked_now.add(digest)


def in_use(instances: bool = True) -> frozenset[str]:
    """The `rootfs` directories of images that are a layer of a mounted overlay.

    Without `instances`, the mounts of our own instances don't count: their records tell what they need.
    """
    layers: set[str] = set()
    for mount in mounts():
        if mount.kind == "overlay" and (instances or not mount.target.startswith(_paths.INSTANCES + "/")):
            layers |= overlay_layers(mount)
    return frozenset(layer for layer in layers if layer.startswith(_paths.IMAGES + "/"))


@dataclass(frozen=True)
class RemoveImage:
    """Step: remove an image, unless something has begun to use it."""

    digest: str

    def run(self) -> None:
        """Make it no image by one rename, then remove its files."""
        path = folder(self.digest)
        if os.path.join(path, "rootfs") in in_use():
            return
        with contextlib.suppress(FileNotFoundError):
            gone = os.path.join(_paths.IMAGES, _STAGED + os.path.basename(path))
            os.rename(path, gone)
            shutil.rmtree(gone)


@dataclass(frozen=True)
class RemoveEmptyStore:
    """Step: remove the directories under /var/lib/isolation that have become empty."""

    def run(self) -> None:
        """Remove them; what killed runs have left goes too."""
        remove_staged()
        for path in (_paths.IMAGES, _paths.INSTANCES):
            remove_empty_directories(path, _paths.LIB)
