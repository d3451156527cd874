# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of images: read-only root filesystems, one for each digest, whole or not there."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import time
import typing as t
from dataclasses import dataclass

from .. import _paths
from .._errors import IsolationError
from . import manifest
from .files import make_directories, read_text, remove_empty_directories, sync_directory, write_atomic
from .manifest import Damage
from .mounts import mounts, overlay_layers, parse_mountinfo, sync_filesystem
from .records import load_records
from .unpacked import Unpacked

FORMAT = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
STAGED = ".staged-"
"""What a run makes aside has this prefix and the run's process id: that of a process which is gone is a leftover."""

unpacked_now: dict[str, float] = {}
"""The images that this process has fetched and unpacked, and how many seconds that took: all others came from the store."""

_verified: dict[str, Damage | None] = {}
"""Images whose content this process has compared with their manifest, and what is wrong with them."""


@dataclass(frozen=True)
class Image:
    """An image as its image.json describes it: sizes in bytes, `fetched` that of the archive.

    `manifest` is the sha256 of the file of that name beside it; None in images that were made before there were any.
    """

    digest: str
    source: t.Mapping[str, t.Any]
    size: int
    entries: int
    devices: int
    fetched: int
    manifest: str | None = None

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


def staged_name() -> str:
    """The name of what this process makes aside."""
    return f"{STAGED}{os.getpid()}"


def is_leftover(entry: str) -> bool:
    """Whether an entry of a directory was made aside by a run that has been killed."""
    owner = entry[len(STAGED) :].partition("-")[0]
    return entry.startswith(STAGED) and not (owner.isdigit() and os.path.exists(f"/proc/{owner}"))


def leftovers() -> tuple[str, ...]:
    """Paths in the store that killed runs have left."""
    try:
        entries = os.listdir(_paths.IMAGES)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(os.path.join(_paths.IMAGES, entry) for entry in sorted(entries) if is_leftover(entry))


def remove_staged() -> None:
    """Remove what killed runs have left. The caller holds the host's lock."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(_paths.IMAGES):
            if entry.startswith(STAGED):
                shutil.rmtree(os.path.join(_paths.IMAGES, entry))


@contextlib.contextmanager
def workspace() -> t.Iterator[str]:
    """A directory in the store to make an image in; it is removed in the end. The caller holds the host's lock."""
    make_directories(_paths.IMAGES, 0o700)
    os.chmod(_paths.IMAGES, 0o700)
    remove_staged()
    path = os.path.join(_paths.IMAGES, staged_name())
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def damage(image: Image) -> Damage | None:
    """How an image differs from what was unpacked, by its manifest; None if it doesn't. It is read whole, once in a process."""
    if image.digest not in _verified:
        text = read_text(os.path.join(image.path, "manifest"))
        if image.manifest is None:
            found: Damage | None = Damage("made without a manifest of its content", image.entries)
        elif text is None or manifest.digest(text) != image.manifest:
            found = Damage("its manifest is missing or has other content", image.entries)
        else:
            found = manifest.compare(text, os.path.join(image.path, "rootfs"))
        _verified[image.digest] = found
    return _verified[image.digest]


def store(digest: str, source: t.Mapping[str, t.Any], make: t.Callable[[str, str], tuple[Unpacked, int]]) -> None:
    """Add an image unless it is there. `make` fills a root directory, has a directory to work in, and returns what it unpacked and fetched.

    The image appears by one rename(2), after all of it is on the disk. One that was found damaged is replaced.

    :raises IsolationError: it can't be made; nothing is left of it.
    """
    if load(digest) is not None and _verified.get(digest) is None:
        return
    began = time.monotonic()
    with workspace() as work:
        staged = os.path.join(work, "image")
        root = os.path.join(staged, "rootfs")
        os.makedirs(root)
        os.chmod(root, 0o755)  # noqa: S103 - the root directory of a service; the store itself is 0700
        try:
            unpacked, fetched = make(root, work)
            content = manifest.describe(root)
            write_atomic(os.path.join(staged, "manifest"), content, 0o600)
            image = Image(
                digest, source, unpacked.size, unpacked.entries, unpacked.devices, fetched, manifest.digest(content)
            )
            text = json.dumps({"format": FORMAT, **dataclasses.asdict(image)}, indent=2, sort_keys=True) + "\n"
            write_atomic(os.path.join(staged, "image.json"), text, 0o600)
            sync_filesystem(staged)
            if os.path.isdir(folder(digest)):  # damaged
                os.rename(folder(digest), os.path.join(work, "damaged"))
            os.rename(staged, folder(digest))
        except OSError as error:
            raise IsolationError(f"image {digest}: {error.strerror}: {error.filename or _paths.IMAGES}") from error
        sync_directory(_paths.IMAGES)
    unpacked_now[digest] = time.monotonic() - began
    _verified.pop(digest, None)


def _layers_in(text: str) -> set[str]:
    """Layers of overlays in another mount namespace, by its mountinfo (proc(5)).

    What has only been propagated from our own namespace to a systemd unit with one of its own goes with ours.
    """
    layers: set[str] = set()
    for line in text.splitlines():
        if " - overlay " in line and _paths.IMAGES in line:
            fields = line.split(" ")
            shared = any(option.startswith(("master:", "shared:")) for option in fields[6 : fields.index("-", 6)])
            if not (shared and fields[4].startswith(_paths.INSTANCES + "/")):
                layers.update(*(overlay_layers(mount) for mount in parse_mountinfo(line)))
    return layers


def _elsewhere() -> set[str] | None:
    """Layers of overlays in the mount namespaces of all other processes: services, and whoever has a copy of our mounts.

    None if a process lives in an overlay whose mount is gone, so that nobody can tell its layers: the kernel unmounts
    what is mounted on a directory in other namespaces when the directory is removed.
    """
    layers: set[str] = set()
    home, here = os.stat("/").st_dev, os.readlink("/proc/self/ns/mnt")
    known: dict[str, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended
            namespace = os.readlink(f"/proc/{entry}/ns/mnt")
            device = os.stat(f"/proc/{entry}/root/").st_dev
            if device == home and namespace in (here, *known):
                continue
            text = read_text(f"/proc/{entry}/mountinfo") or ""
            if namespace != here:
                known[namespace] = text
                layers |= _layers_in(text)
            if device != home and f" {os.major(device)}:{os.minor(device)} " not in text and _is_overlay(entry):
                return None
    return layers


def _is_overlay(process: str) -> bool:
    """Whether the root directory of a process lies on an overlay (statfs(2), OVERLAYFS_SUPER_MAGIC)."""
    status = (ctypes.c_long * 64)()
    return _LIBC.statfs(f"/proc/{process}/root/".encode(), status) == 0 and status[0] == 0x794C7630


def in_use(instances: bool = True) -> frozenset[str]:
    """The `rootfs` directories of images that are a layer of an overlay, in any mount namespace.

    Without `instances`, the mounts of our own instances don't count: their records tell what they need.
    """
    layers = _elsewhere()
    if layers is None:
        return frozenset(f"{image.path}/rootfs" for image in load_all().values())
    for mount in mounts():
        if mount.kind == "overlay" and (instances or not mount.target.startswith(_paths.INSTANCES + "/")):
            layers |= overlay_layers(mount)
    return frozenset(layer for layer in layers if layer.startswith(_paths.IMAGES + "/"))


@dataclass(frozen=True)
class RemoveImages:
    """Step: remove images, but for those that a record names or an overlay has as a layer by now."""

    digests: tuple[str, ...]

    def run(self) -> None:
        """Make each no image by one rename, then remove its files."""
        needed = {record.assigned.get("digest") for record in load_records("rootfs").values()}
        used = in_use()
        for digest in self.digests:
            path = folder(digest)
            if digest in needed or os.path.join(path, "rootfs") in used:
                continue
            with contextlib.suppress(FileNotFoundError):
                gone = os.path.join(_paths.IMAGES, f"{staged_name()}-{os.path.basename(path)}")
                os.rename(path, gone)
                shutil.rmtree(gone)


@dataclass(frozen=True)
class RemoveLeftovers:
    """Step: remove what killed runs have left."""

    paths: tuple[str, ...]

    def run(self) -> None:
        """Remove them, and those that have come since."""
        remove_staged()
        for path in self.paths:
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class RemoveEmptyStore:
    """Step: remove the directories under /var/lib/isolation that have become empty."""

    def run(self) -> None:
        """Remove them; what killed runs have left goes too."""
        remove_staged()
        for path in (_paths.IMAGES, _paths.INSTANCES):
            remove_empty_directories(path, _paths.LIB)
