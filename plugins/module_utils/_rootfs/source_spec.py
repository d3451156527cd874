# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an image can come from, and its canonical form."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import typing as t
from dataclasses import dataclass

from .._errors import InvalidOption
from .._host.access import Access

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?")
_URL = re.compile(r"(https?|ftp)://[^\s]+")
_IMAGE = re.compile(
    r"(?P<host>(?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:)|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?)"
    r"/(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""A reference (distribution/reference) whose first part can only be a registry."""

VARIANTS = ("essential", "apt", "minbase", "buildd", "important", "standard")

_IMAGE_FILE: dict[str, t.Any] = {
    "path": {"type": "path"},
    "reference": {"type": "str"},
    # Set by the action plugin: the path on the controller and the image's digest, of what it has sent or found to be here.
    "_origin": {"type": "str"},
    "_digest": {"type": "str"},
}

SOURCE: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "tar": {
            "type": "dict",
            "options": {
                "path": {"type": "path"},
                "url": {"type": "str"},
                "checksum": {"type": "str"},
                # Set by the action plugin: the path on the controller, of what it has sent or found to be here.
                "_origin": {"type": "str"},
            },
        },
        "oci_layout": {"type": "dict", "options": _IMAGE_FILE},
        "docker_archive": {"type": "dict", "options": _IMAGE_FILE},
        "registry": {
            "type": "dict",
            "options": {
                "image": {"type": "str"},
                "tls_verify": {"type": "bool", "default": True},
                "ca_path": {"type": "path"},
                "username": {"type": "str"},
                "password": {"type": "str", "no_log": True},
                "revision": {"type": "str"},
            },
        },
        "directory": {"type": "dict", "options": {"path": {"type": "path"}, "revision": {"type": "str"}}},
        "debian": {
            "type": "dict",
            "options": {
                "suite": {"type": "str"},
                "variant": {"type": "str", "choices": list(VARIANTS), "default": "minbase"},
                "include": {"type": "list", "elements": "str"},
                "mirror": {"type": "str"},
                "revision": {"type": "str"},
            },
        },
    },
}


@dataclass(frozen=True)
class TarSource:
    """An archive on the host or behind a URL; its digest is the image's.

    `origin` is the path on the controller of one that comes from there: `path` is where it was sent to, or None if it
    was not, because the host has its image.
    """

    path: str | None
    url: str | None
    checksum: str | None
    origin: str | None = None

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        if self.origin is not None:
            return {"tar": {"controller": self.origin}}
        return {"tar": {"url": self.url} if self.url else {"path": self.path}}

    @property
    def sent(self) -> bool:
        """Whether it can be had: what the controller has not sent can't."""
        return self.path is not None or self.url is not None


@dataclass(frozen=True)
class _ImageFile:
    """An image of a directory or an archive, by an optional `reference`.

    `origin` is the path on the controller of one that comes from there, with the `digest` that was found there; `path`
    is empty if it was not sent, because the host has the image.
    """

    path: str
    reference: str | None
    origin: str | None = None
    digest: str | None = None

    option: t.ClassVar[str]

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        if self.origin is not None:
            return {self.option: {"controller": self.origin, "reference": self.reference}}
        return {self.option: {"path": self.path, "reference": self.reference}}

    @property
    def sent(self) -> bool:
        """Whether it can be had: what the controller has not sent can't."""
        return bool(self.path)


class LayoutSource(_ImageFile):
    """An image of an image layout of OCI: a directory, or an archive of one. `reference` is a name or digest of its index."""

    option = "oci_layout"


class SavedSource(_ImageFile):
    """An image of an archive that `docker save` has written. `reference` is a tag, or the digest of its configuration."""

    option = "docker_archive"


@dataclass(frozen=True)
class RegistrySource:
    """An image of a registry: by tag, or by digest, which wins over a tag. `always` asks at every run what a tag means.

    Another `revision` is another source: what a tag meant before is not believed.
    """

    repository: str
    tag: str | None
    digest: str | None
    access: Access
    always: bool
    revision: str = ""

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images: without credentials."""
        revision = {"revision": self.revision} if self.revision else {}
        return {"registry": {"image": self.by(self.digest), **revision}}

    def by(self, digest: str | None) -> str:
        """The reference of an image by its digest, or by the tag."""
        return f"{self.repository}@{digest}" if digest else f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class DirectorySource:
    """A directory of the host."""

    path: str
    revision: str

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        return {"directory": {"path": self.path, "revision": self.revision}}


@dataclass(frozen=True)
class DebianSource:
    """A Debian release, made by mmdebstrap."""

    suite: str
    variant: str
    include: tuple[str, ...]
    mirror: str | None
    revision: str

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        return {
            "debian": {
                "suite": self.suite,
                "variant": self.variant,
                "include": list(self.include),
                "mirror": self.mirror,
                "revision": self.revision,
            }
        }


Source = t.Union[TarSource, LayoutSource, SavedSource, RegistrySource, DirectorySource, DebianSource]


def canonical_digest(value: t.Mapping[str, t.Any]) -> str:
    """The digest (`sha256:…`) of a value in canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def absolute(path: str, option: str) -> str:
    """A path in its canonical form.

    :raises InvalidOption: it is not absolute.
    """
    if not path.startswith("/"):
        raise InvalidOption(f"{option}: {path!r} is not an absolute path")
    return posixpath.normpath(path).replace("//", "/")


def _tar(given: t.Mapping[str, t.Any], name: str) -> TarSource:
    option = f"{name}: source.tar"
    path, url, checksum, origin = (given.get(key) for key in ("path", "url", "checksum", "_origin"))
    if (path is None) == (url is None) and not (origin and url is None):
        raise InvalidOption(f"{option}: give either path or url")
    if checksum is not None:
        checksum = checksum.strip().lower()
        if not _CHECKSUM.fullmatch(checksum):
            raise InvalidOption(
                f"{option}.checksum: {checksum!r} is not a checksum: write sha256: and 64 hexadecimal digits (sha256sum {path or 'FILE'})"
            )
    if url is not None:
        if not _URL.fullmatch(url):
            raise InvalidOption(f"{option}.url: {url!r} is not a URL of http, https or ftp")
        if checksum is None:
            raise InvalidOption(
                f"{option}.checksum: needed with url, whose content may change at any time: write sha256: and 64 hexadecimal digits"
            )
    return TarSource(None if path is None else absolute(path, f"{option}.path"), url, checksum, origin)


def _debian(given: t.Mapping[str, t.Any], name: str) -> DebianSource:
    option = f"{name}: source.debian"
    suite = given.get("suite") or ""
    if not _SUITE.fullmatch(suite):
        raise InvalidOption(f"{option}.suite: {suite!r} is not the name of a release, such as bookworm")
    include = tuple(sorted(set(given.get("include") or [])))
    for package in include:
        if not _PACKAGE.fullmatch(package):
            raise InvalidOption(f"{option}.include: {package!r} is not the name of a package")
    mirror = given.get("mirror")
    if mirror is not None and not re.fullmatch(r"(https?|ftp|file|copy):/[^\s\[\]]+", mirror):
        raise InvalidOption(
            f"{option}.mirror: {mirror!r} is not the URL of a Debian mirror, such as https://deb.debian.org/debian"
        )
    return DebianSource(suite, given["variant"], include, mirror, given.get("revision") or "")


def _registry(given: t.Mapping[str, t.Any], name: str, always: bool) -> RegistrySource:
    option = f"{name}: source.registry"
    image = given.get("image") or ""
    match = _IMAGE.fullmatch(image)
    if not match or len(match.group("name")) > 255:
        raise InvalidOption(
            f"{option}.image: {image!r} is not an image of a named registry:"
            " write host[:port]/name[:tag][@sha256:…], such as docker.io/library/nginx:1.27"
        )
    username, password, ca_path = given.get("username"), given.get("password"), given.get("ca_path")
    if (username is None) != (password is None):
        raise InvalidOption(f"{option}: give both username and password, or neither")
    if username is not None and (not username or ":" in username):
        raise InvalidOption(f"{option}.username: empty, or with a colon, which no user of a registry has")
    if ca_path is not None and not given["tls_verify"]:
        raise InvalidOption(f"{option}.ca_path: without tls_verify no certificate is looked at: leave one of both out")
    access = Access(
        match.group("host"),
        given["tls_verify"],
        username,
        password,
        None if ca_path is None else absolute(ca_path, f"{option}.ca_path"),
    )
    tag, digest = match.group("tag"), match.group("digest")
    repository = f"{match.group('host')}/{match.group('name')}"
    tag = tag or ("latest" if digest is None else None)
    return RegistrySource(repository, tag, digest, access, always, given.get("revision") or "")


def parse_source(given: t.Mapping[str, t.Any], name: str, always: bool) -> Source:
    """Exactly one of the suboptions of `source`. `always` is whether a registry is asked at every run.

    :raises InvalidOption: an option can't be meant; the message names it.
    """
    chosen = [kind for kind, options in given.items() if options is not None]
    if len(chosen) != 1:
        raise InvalidOption(f"{name}: source: give exactly one of {', '.join(SOURCE['options'])}")
    kind, options = chosen[0], given[chosen[0]]
    if kind == "registry":
        return _registry(options, name, always)
    if always:
        raise InvalidOption(
            f"{name}: pull: only source.registry is pulled; source.{kind} is looked at in every run anyway"
        )
    if kind == "tar":
        return _tar(options, name)
    if kind == "debian":
        return _debian(options, name)
    origin, digest = options.get("_origin"), options.get("_digest")
    if not options.get("path") and not (origin and digest):
        raise InvalidOption(f"{name}: source.{kind}.path: needed")
    path = absolute(options["path"], f"{name}: source.{kind}.path") if options.get("path") else ""
    if kind == "oci_layout":
        return LayoutSource(path, options.get("reference"), origin, digest)
    if kind == "docker_archive":
        return SavedSource(path, options.get("reference"), origin, digest)
    return DirectorySource(path, options.get("revision") or "")
