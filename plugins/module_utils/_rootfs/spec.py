# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a root filesystem, and its canonical form."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import typing as t
from dataclasses import dataclass

from .. import _idrange
from .._errors import InvalidOption
from .._host.extract import Limits
from .._host.instances import LaidFile, content_digest
from .._host.skopeo import Access
from .._names import check_name
from .._units import parse_size

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?")
_MODE = re.compile(r"[0-7]{3,4}")
_URL = re.compile(r"(https?|ftp)://[^\s]+")
_IMAGE = re.compile(
    r"(?P<host>(?:localhost|[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:)|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?)"
    r"/(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
"""A reference (distribution/reference) whose first part can only be a registry."""

VARIANTS = ("essential", "apt", "minbase", "buildd", "important", "standard")
MODES = ("overlay", "read_only", "ephemeral")

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "service": {"type": "str"},
    "source": {
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
            "oci_layout": {"type": "dict", "options": {"path": {"type": "path"}, "reference": {"type": "str"}}},
            "docker_archive": {"type": "dict", "options": {"path": {"type": "path"}, "reference": {"type": "str"}}},
            "registry": {
                "type": "dict",
                "options": {
                    "image": {"type": "str"},
                    "tls_verify": {"type": "bool", "default": True},
                    "ca_path": {"type": "path"},
                    "username": {"type": "str"},
                    "password": {"type": "str", "no_log": True},
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
    },
    "pull": {"type": "str", "choices": ["missing", "always"], "default": "missing"},
    "mode": {"type": "str", "choices": list(MODES), "default": "overlay"},
    "size": {"type": "str"},
    "id_base": {"type": "int"},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str"},
            "state": {"type": "str", "choices": ["file", "directory"], "default": "file"},
            "content": {"type": "str"},
            "mode": {"type": "str"},
            "owner": {"type": "int", "default": 0},
            "group": {"type": "int", "default": 0},
            "sensitive": {"type": "bool", "default": False},
        },
    },
    "max_size": {"type": "str", "default": "16G"},
    "max_entries": {"type": "int", "default": 1000000},
    "force": {"type": "bool", "default": False},
    "prune_images": {"type": "bool", "default": False},
    "keep": {"type": "int"},
    "verify": {"type": "str", "choices": ["stat", "full"], "default": "stat"},
    "remote_src": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

RULES: dict[str, t.Any] = {"required_if": [("state", "present", ("source",))]}


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
class LayoutSource:
    """An image of an image layout of OCI: a directory, or an archive of one. `reference` is a name or digest of its index."""

    path: str
    reference: str | None

    option: t.ClassVar[str] = "oci_layout"

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        return {self.option: {"path": self.path, "reference": self.reference}}


@dataclass(frozen=True)
class SavedSource:
    """An image of an archive that `docker save` has written. `reference` is a tag, or the digest of its configuration."""

    path: str
    reference: str | None

    option: t.ClassVar[str] = "docker_archive"

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images."""
        return {self.option: {"path": self.path, "reference": self.reference}}


@dataclass(frozen=True)
class RegistrySource:
    """An image of a registry: by tag, or by digest, which wins over a tag. `always` asks at every run what a tag means."""

    repository: str
    tag: str | None
    digest: str | None
    access: Access
    always: bool

    def canonical(self) -> dict[str, t.Any]:
        """The source as it stands in records and images: without credentials."""
        return {"registry": {"image": self.by(self.digest)}}

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


@dataclass(frozen=True)
class FileSpec:
    """A file or directory to lay in. `sensitive` keeps what its content looks like out of diffs."""

    laid: LaidFile
    sensitive: bool

    @property
    def path(self) -> str:
        """Where it lies inside."""
        return self.laid.path

    @property
    def digest(self) -> str | None:
        """The sha256 of its content; None for a directory."""
        return None if self.laid.content is None else content_digest(self.laid.content)


@dataclass(frozen=True)
class RootfsSpec:
    """One root filesystem as it is asked for. `source` is None with state absent; `id_base` None means the service's own range."""

    name: str
    service: str
    source: Source | None
    mode: str
    size: int | None
    id_base: int | None
    files: tuple[FileSpec, ...]
    limits: Limits
    force: bool
    prune_images: bool
    present: bool
    keep: int | None = None
    verify: bool = False


def canonical_digest(value: t.Mapping[str, t.Any]) -> str:
    """The digest (`sha256:…`) of a value in canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _absolute(path: str, option: str) -> str:
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
    return TarSource(None if path is None else _absolute(path, f"{option}.path"), url, checksum, origin)


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
        None if ca_path is None else _absolute(ca_path, f"{option}.ca_path"),
    )
    tag, digest = match.group("tag"), match.group("digest")
    repository = f"{match.group('host')}/{match.group('name')}"
    return RegistrySource(repository, tag or ("latest" if digest is None else None), digest, access, always)


def _source(given: t.Mapping[str, t.Any], name: str, always: bool) -> Source:
    chosen = [kind for kind, options in given.items() if options is not None]
    if len(chosen) != 1:
        raise InvalidOption(f"{name}: source: give exactly one of {', '.join(OPTIONS['source']['options'])}")
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
    if not options.get("path"):
        raise InvalidOption(f"{name}: source.{kind}.path: needed")
    path = _absolute(options["path"], f"{name}: source.{kind}.path")
    if kind == "oci_layout":
        return LayoutSource(path, options.get("reference"))
    if kind == "docker_archive":
        return SavedSource(path, options.get("reference"))
    return DirectorySource(path, options.get("revision") or "")


def _file(given: t.Mapping[str, t.Any], name: str) -> FileSpec:
    option = f"{name}: files"
    path = _absolute(given.get("path") or "", f"{option}.path")
    if path == "/" or path.split("/")[1] in ("dev", "proc", "sys"):
        raise InvalidOption(f"{option}: {path}: a service gets its own file system there: lay it in elsewhere")
    directory = given["state"] == "directory"
    content = given.get("content")
    if directory == (content is not None):
        raise InvalidOption(f"{option}: {path}: give content for a file, none for a directory")
    mode = given.get("mode") or ("0755" if directory else "0644")
    if not _MODE.fullmatch(mode):
        raise InvalidOption(f'{option}: {path}: mode {mode!r} is not an octal number in quotes, such as "0644"')
    owner, group = given["owner"], given["group"]
    for number in (owner, group):
        if not 0 <= number < _idrange.SIZE:
            raise InvalidOption(
                f"{option}: {path}: owner and group are ids inside the service, 0 to {_idrange.SIZE - 1}, not {number}"
            )
    data = None if content is None else content.encode("utf-8", "surrogateescape")
    return FileSpec(LaidFile(path, data, int(mode, 8), owner, group), given["sensitive"])


def _files(given: t.Sequence[t.Mapping[str, t.Any]], name: str) -> tuple[FileSpec, ...]:
    files = tuple(sorted((_file(item, name) for item in given), key=lambda file: file.path))
    paths = [file.path for file in files]
    for path in paths:
        if paths.count(path) > 1:
            raise InvalidOption(f"{name}: files: {path} is given more than once")
    plain = {file.path for file in files if file.laid.content is not None}
    for path in paths:
        if any(path.startswith(other + "/") for other in plain):
            raise InvalidOption(f"{name}: files: {path} lies below a file that is laid in, too")
    return files


def _check_remote(options: t.Mapping[str, t.Any], name: str) -> None:
    """What is on the controller is only known there: the action plugin replaces it."""
    source = options.get("source") or {}
    for kind, given in source.items():
        if given and given.get("path") and not given.get("_origin"):
            raise InvalidOption(
                f"{name}: remote_src: false: source.{kind}.path is on the controller, and nothing has sent it: call the"
                " module by its full name, daemonless.isolation.rootfs_prepare, so that its action plugin runs"
            )


def parse(options: t.Mapping[str, t.Any]) -> RootfsSpec:
    """One element's options.

    :raises InvalidOption: an option can't be meant.
    """
    name = check_name(options["name"])
    service = check_name(options.get("service") or name, f"{name}: service")
    mode = options["mode"]
    size = None if options.get("size") is None else parse_size(options["size"], f"{name}: size")
    if mode == "ephemeral":
        size = size or parse_size("64M", "size")
        if size < 65536:
            raise InvalidOption(f"{name}: size: {size} bytes are too few for a layer in memory: at least 64K")
        size = -(-size // 65536) * 65536  # whole pages on every architecture: the kernel's answer is compared
    elif size is not None:
        raise InvalidOption(f"{name}: size: only a root filesystem of mode ephemeral has one, not {mode}")
    id_base = options.get("id_base")
    if id_base is not None and not _idrange.SIZE <= id_base <= _idrange.LAST:
        raise InvalidOption(f"{name}: id_base: {id_base} is not between {_idrange.SIZE} and {_idrange.LAST}")
    entries = options["max_entries"]
    if entries < 1:
        raise InvalidOption(f"{name}: max_entries: {entries} is not a number of entries")
    keep = options.get("keep")
    if keep is not None and keep < 0:
        raise InvalidOption(f"{name}: keep: {keep} is not a number of root filesystems")
    present = options["state"] == "present"
    if present and options.get("remote_src") is False:
        _check_remote(options, name)
    return RootfsSpec(
        name=name,
        service=service,
        source=_source(options["source"], name, options.get("pull") == "always") if present else None,
        mode=mode,
        size=size,
        id_base=id_base,
        files=_files(options.get("files") or [], name),
        limits=Limits(parse_size(options["max_size"], f"{name}: max_size"), entries),
        force=bool(options.get("force")),
        prune_images=bool(options.get("prune_images")),
        present=present,
        keep=keep if present else None,
        verify=present and options.get("verify") == "full",
    )
