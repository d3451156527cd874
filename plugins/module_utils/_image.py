# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents of container images: what they say, which image is meant, and whether this host can run it. Pure.

The rules are those of OCI's image specification 1.1 (image-layout, image-index, manifest, config), of Docker's
distribution manifest v2 schema 2, and of the manifest.json that `docker save` writes.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass

from ._errors import InvalidOption, IsolationError

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""A digest (OCI descriptor specification). Of its algorithms only sha256 is in use, and only that is taken."""

REF_NAME = "org.opencontainers.image.ref.name"

_MACHINES = {
    "x86_64": ("amd64", ("", "v1")),
    "aarch64": ("arm64", ("", "v8")),
    "armv7l": ("arm", ("v7", "", "v6", "v5")),
    "armv6l": ("arm", ("v6", "v5")),
    "i686": ("386", ("",)),
    "ppc64le": ("ppc64le", ("", "power8")),
    "s390x": ("s390x", ("",)),
    "riscv64": ("riscv64", ("",)),
    "loongarch64": ("loong64", ("",)),
}
"""By the kernel's name of a machine Go's name of its architecture and the variants that surely run on it, best first."""

_LAYERS = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_MAX_LAYERS = 1000


class ImageError(IsolationError):
    """An image is damaged, or of a kind that can't be unpacked here."""


@dataclass(frozen=True)
class Platform:
    """What an image runs on, in Go's names. An empty text stands for what is not said."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os or "?", self.architecture or "?", self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """A reference to a blob: its digest, its size in bytes, and what it is. `name` is the reference name of a layout's entry."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    name: str | None = None
    elsewhere: bool = False


@dataclass(frozen=True)
class Manifest:
    """What an image for one platform consists of, lower layers first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Config:
    """Of an image's configuration what unpacking takes: its platform, and the digests of its uncompressed layers."""

    platform: Platform
    diff_ids: tuple[str, ...]


@dataclass(frozen=True)
class Saved:
    """An image of an archive of `docker save`: names of its files in the archive, and its tags."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def digest_of(data: bytes) -> str:
    """The digest (`sha256:…`) of a document."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _load(label: str, data: bytes) -> t.Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{label}: no JSON document: {error}") from error


def _get(label: str, document: t.Any, key: str, kind: type[t.Any], default: t.Any = None) -> t.Any:
    """A value of a document, which must be of a kind; a missing one is the default, if there is one."""
    value = document.get(key) if isinstance(document, dict) else None
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ImageError(f"{label}: {key}: {value!r} is not what an image has there: it is damaged")
    return value


def _descriptor(label: str, document: t.Any) -> Descriptor:
    digest, size = _get(label, document, "digest", str), _get(label, document, "size", int)
    if not DIGEST.fullmatch(digest) or size < 0:
        raise ImageError(f"{label}: {digest!r} of {size} bytes: not a sha256 digest and a size")
    platform = None
    if document.get("platform") is not None:
        platform = _platform(f"{label}: platform", document["platform"])
    name = _get(label, document, "annotations", dict, {}).get(REF_NAME)
    return Descriptor(
        _get(label, document, "mediaType", str, ""),
        digest,
        size,
        platform,
        name if isinstance(name, str) else None,
        bool(document.get("urls")),
    )


def _platform(label: str, document: t.Any) -> Platform:
    return Platform(
        _get(label, document, "os", str, ""),
        _get(label, document, "architecture", str, ""),
        _get(label, document, "variant", str, ""),
    )


def is_index(data: bytes, label: str) -> bool:
    """Whether a document is an index (Docker: manifest list), rather than the manifest of one image.

    :raises ImageError: it is neither, or could be taken for both (CVE-2021-41190).
    """
    document = _load(label, data)
    index, manifest = (isinstance(document, dict) and key in document for key in ("manifests", "layers"))
    if index and manifest:
        raise ImageError(f"{label}: it has both manifests and layers, and could mean either")
    if not index and not manifest:
        version = document.get("schemaVersion") if isinstance(document, dict) else None
        raise ImageError(
            f"{label}: neither an index nor a manifest of OCI or of Docker's schema 2 (schemaVersion {version!r}):"
            " push it again with a current tool"
        )
    return index


def parse_index(data: bytes, label: str) -> tuple[Descriptor, ...]:
    """The entries of an index.

    :raises ImageError: it is none.
    """
    entries = _get(label, _load(label, data), "manifests", list)
    return tuple(_descriptor(f"{label}: manifests", entry) for entry in entries)


def parse_manifest(data: bytes, label: str) -> Manifest:
    """A manifest, whose layers are all of a kind that can be unpacked.

    :raises ImageError: it is none, is that of something else than a container image, or has layers that can't be unpacked.
    """
    document = _load(label, data)
    config = _descriptor(f"{label}: config", _get(label, document, "config", dict))
    if config.media_type not in _CONFIGS:
        raise ImageError(f"{label}: {config.media_type!r} is not the configuration of a container image")
    layers = tuple(_descriptor(f"{label}: layers", layer) for layer in _get(label, document, "layers", list))
    if len(layers) > _MAX_LAYERS:
        raise ImageError(f"{label}: {len(layers)} layers are more than {_MAX_LAYERS}")
    for layer in layers:
        layer_compression(layer, label)
    return Manifest(config, layers)


def layer_compression(layer: Descriptor, label: str) -> str:
    """How a layer is compressed: tar (not at all), gzip or zstd.

    :raises ImageError: it is encrypted, lies elsewhere, or is of an unknown media type.
    """
    kind = layer.media_type
    if "+encrypted" in kind:
        raise ImageError(f"{label}: layer {layer.digest} is encrypted ({kind}): decrypt the image first (skopeo copy)")
    if "nondistributable" in kind or "foreign" in kind or layer.elsewhere:
        raise ImageError(f"{label}: layer {layer.digest} is a foreign layer ({kind}), which lies at other URLs")
    if kind not in _LAYERS:
        raise ImageError(
            f"{label}: layer {layer.digest} is of the unknown media type {kind!r}: known are {', '.join(_LAYERS)}"
        )
    return _LAYERS[kind]


def parse_config(data: bytes, label: str) -> Config:
    """An image's configuration.

    :raises ImageError: it is none.
    """
    document = _load(label, data)
    rootfs = _get(label, document, "rootfs", dict)
    diff_ids = _get(f"{label}: rootfs", rootfs, "diff_ids", list)
    for diff_id in diff_ids:
        if not isinstance(diff_id, str) or not DIGEST.fullmatch(diff_id):
            raise ImageError(f"{label}: rootfs.diff_ids: {diff_id!r} is not a sha256 digest")
    return Config(_platform(label, document), tuple(diff_ids))


def host_variants(machine: str) -> tuple[Platform, ...]:
    """The platforms whose images surely run on a machine (uname(2)), best first."""
    architecture, variants = _MACHINES.get(machine, (machine, ("",)))
    return tuple(Platform("linux", architecture, variant) for variant in variants)


def check_platform(found: Platform, machine: str, label: str) -> None:
    """Refuse an image that this host can't run.

    :raises ImageError: it is for another architecture or system; the message names both.
    """
    fitting = host_variants(machine)
    if found not in fitting:
        raise ImageError(
            f"{label}: the image is for {found}, but this host is {fitting[0]}: give an image for {fitting[0]}"
        )


def choose_platform(entries: t.Sequence[Descriptor], machine: str, label: str) -> Descriptor:
    """The entry of an index for a machine: the best of its variants, the first of several (image-index specification).

    :raises ImageError: there is none; the message has those that there are.
    """
    fitting = host_variants(machine)
    for wanted in fitting:
        for entry in entries:
            if entry.platform == wanted:
                return entry
    if len(entries) == 1 and entries[0].platform is None:
        return entries[0]
    there = sorted({str(entry.platform) for entry in entries if entry.platform and entry.platform.os != "unknown"})
    raise ImageError(f"{label}: no image for {fitting[0]}, which this host is: there are {', '.join(there) or 'none'}")


def choose_entry(entries: t.Sequence[Descriptor], reference: str | None, machine: str, label: str) -> Descriptor:
    """The entry of a layout's index that a reference means: an entry's name, or its digest. One entry needs none.

    :raises InvalidOption: there is no such entry, or several without a reference; the message lists them.
    :raises ImageError: none of those with that name is for this machine.
    """
    if reference is not None:
        meant = [entry for entry in entries if reference in (entry.name, entry.digest)]
    else:
        meant = list(entries) if len({entry.name for entry in entries}) == 1 else []
    if meant:
        return meant[0] if len(meant) == 1 else choose_platform(meant, machine, label)
    there = ", ".join(f"{entry.name} ({entry.digest})" if entry.name else entry.digest for entry in entries)
    asked = f"no image {reference!r}" if reference is not None else "which image is meant? give reference"
    raise InvalidOption(f"{label}: {asked}: there are {there or 'none'}")


def parse_saved(data: bytes, label: str) -> tuple[Saved, ...]:
    """The images of an archive of `docker save`, by its manifest.json.

    :raises ImageError: it is none.
    """
    document = _load(label, data)
    if not isinstance(document, list):
        raise ImageError(f"{label}: not the list of images that docker save writes")
    return tuple(
        Saved(
            _get(label, image, "Config", str),
            tuple(map(str, _get(label, image, "Layers", list))),
            tuple(map(str, _get(label, image, "RepoTags", list, []))),
        )
        for image in document
    )


def choose_saved(images: t.Sequence[Saved], reference: str | None, label: str) -> Saved:
    """The image of an archive that a reference means: one of its tags, with or without `docker.io/library/`, or its configuration's digest.

    :raises InvalidOption: there is no such image, or several without a reference; the message lists them.
    """
    if reference is None and len(images) == 1:
        return images[0]
    names = {reference, f"{reference}:latest"} if reference is not None else set()
    names |= {
        name[len(prefix) :]
        for name in names
        for prefix in ("docker.io/library/", "docker.io/")
        if name.startswith(prefix)
    }
    for image in images:
        short = {
            tag[len(prefix) :]
            for tag in image.tags
            for prefix in ("docker.io/library/", "docker.io/")
            if tag.startswith(prefix)
        }
        identity = re.findall(r"[0-9a-f]{64}", image.config)
        if names & ({*image.tags} | short) or (identity and reference == f"sha256:{identity[-1]}"):
            return image
    there = ", ".join(tag for image in images for tag in (image.tags or (image.config,)))
    asked = f"no image {reference!r}" if reference is not None else "which image is meant? give reference"
    raise InvalidOption(f"{label}: {asked}: there are {there or 'none'}")
