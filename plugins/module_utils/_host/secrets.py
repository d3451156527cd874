# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of services: the plain files in memory, and what brings them back after a boot. Restoring is in helpers/secrets.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._errors import IsolationError
from .._hidden import Hidden
from . import systemd
from .files import make_directories, remove_empty_directories, remove_file, sync_directory
from .helpers import secrets as _helper
from .helpers.mounting import MountError
from .libexec import program
from .process import SEARCH_PATH, find_tool
from .records import Record

HELPER = "secrets"
STORE = _helper.STORE
SEALED, PLAIN = _helper.SEALED, _helper.PLAIN

folder = _helper.folder


class SecretError(IsolationError):
    """A secret can't be read, kept or put in place."""


@dataclass(frozen=True)
class Wanted:
    """A secret to look at: the file that shows it, and the one that has shown it so far."""

    name: str
    target: str
    before: str | None = None


@dataclass(frozen=True)
class Seen:
    """One secret as the host has it.

    `value` is what the service reads, or would read after its next start; None if there is none. `live` are owner, group and mode
    of the plain file. `forms` tells how the value is kept across boots, and whether that is the same value in a file for root alone.
    """

    value: Hidden | None = None
    live: tuple[int, int, int] | None = None
    forms: t.Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Secrets:
    """What the host has: secrets by instance and name, files that belong to none, whether it can encrypt, the helper's text."""

    seen: t.Mapping[str, t.Mapping[str, Seen]] = field(default_factory=dict)
    strays: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sealing: bool = False
    helper: str = ""


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _stored(instance: str, name: str) -> bytes | None:
    try:
        return _helper.stored(instance, name)
    except _helper.SecretError:
        return None  # a new value replaces it; without one, the planner says that there is none


def _is_same(instance: str, name: str, form: str, value: bytes | None, shown: os.stat_result | None) -> bool:
    """Whether what is kept is the value that the service reads. What is encrypted is older than the plain file that was made with it or
    from it: only one that was written, moved or restored since then takes the time to be decrypted.
    """
    status = os.lstat(_helper.saved(instance, name, form))
    if stat.S_IMODE(status.st_mode) != 0o600 or status.st_uid != 0:
        return False
    if form == SEALED and shown is not None and status.st_ctime_ns <= shown.st_ctime_ns:
        return True
    return value is not None and _stored(instance, name) == value


def _look(instance: str, wanted: Wanted) -> Seen:
    shown = _status(_helper.live(instance, wanted.target))
    value = _read(_helper.live(instance, wanted.target))
    if value is None and wanted.before is not None:
        value = _read(_helper.live(instance, wanted.before))
    if value is None:
        value = _stored(instance, wanted.name)
    forms = {
        form: _is_same(instance, wanted.name, form, value, shown)
        for form in (SEALED, PLAIN)
        if _status(_helper.saved(instance, wanted.name, form)) is not None
    }
    live = None if shown is None else (shown.st_uid, shown.st_gid, stat.S_IMODE(shown.st_mode))
    return Seen(None if value is None else Hidden(value), live, forms)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _strays(instance: str, wanted: t.Sequence[Wanted]) -> tuple[str, ...]:
    shown = {item.target for item in wanted}
    kept = {f"{form}.{item.name}" for item in wanted for form in (SEALED, PLAIN)}
    found = [_helper.live(instance, name) for name in _names(folder(instance)) if name not in shown]
    store = os.path.join(STORE, instance)
    return (*found, *(os.path.join(store, name) for name in _names(store) if name not in kept))


def observe(wanted: t.Mapping[str, t.Sequence[Wanted]]) -> Secrets:
    """What the host has of the secrets of some instances."""
    return Secrets(
        {instance: {item.name: _look(instance, item) for item in items} for instance, items in wanted.items()},
        {instance: _strays(instance, items) for instance, items in wanted.items()},
        systemd.booted() and find_tool(os.path.basename(_helper.CREDS)) is not None,
        program(_helper),
    )


def states(record: Record | None) -> list[dict[str, t.Any]]:
    """The secrets of an instance by its record, and where their values are: not what they are."""
    found = []
    for item in record.spec.get("secrets", []) if record is not None else []:
        name = record.name if record is not None else ""
        kept = [form for form in (SEALED, PLAIN) if _status(_helper.saved(name, item["name"], form)) is not None]
        found.append(
            {
                "name": item["name"],
                "present": _status(_helper.live(name, item["target"])) is not None,
                "kept": {SEALED: "encrypted", PLAIN: "plain"}[kept[0]] if kept else None,
            }
        )
    return found


def _seal(name: str, value: bytes) -> bytes:
    """A value encrypted for this host and this name (systemd-creds(1)); it goes in and out by pipes.

    :raises SecretError: the host can't.
    """
    try:
        done = subprocess.run(
            [_helper.CREDS, "encrypt", f"--name={name}", "--with-key=auto", "-", "-"],
            input=value,
            capture_output=True,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            cwd="/",
            check=False,
        )
    except OSError as error:
        raise SecretError(f"{_helper.CREDS}: {error.strerror}") from error
    if done.returncode != 0 or not done.stdout:
        answer = done.stderr.decode(errors="replace").strip() or "no message"
        raise SecretError(
            f"{_helper.CREDS} encrypt --name={name}: {answer}: mend this, or set persist to false for this secret"
        )
    return done.stdout


@dataclass(frozen=True)
class KeepSecret:
    """Step: keep a value across boots, encrypted or as a file for root alone."""

    instance: str
    name: str
    value: Hidden
    sealed: bool

    def run(self) -> None:
        """Write it, and remove what was kept in the other form.

        :raises SecretError: it can't be encrypted.
        """
        content = _seal(f"{self.instance}.{self.name}", self.value.value) if self.sealed else self.value.value
        form, other = (SEALED, PLAIN) if self.sealed else (PLAIN, SEALED)
        top = os.path.join(STORE, self.instance)
        make_directories(STORE, 0o700)
        make_directories(top, 0o700)
        path, staged = _helper.saved(self.instance, self.name, form), os.path.join(top, f".{self.name}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o600)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(staged, path)
        sync_directory(top)
        remove_file(_helper.saved(self.instance, self.name, other))


@dataclass(frozen=True)
class ForgetSecret:
    """Step: keep a value in memory only."""

    instance: str
    name: str

    def run(self) -> None:
        """Remove what was kept."""
        for form in (SEALED, PLAIN):
            remove_file(_helper.saved(self.instance, self.name, form))
        top = os.path.join(STORE, self.instance)
        remove_empty_directories(top, STORE)


@dataclass(frozen=True)
class ShowSecret:
    """Step: put a value where the service reads it; a running one sees it at once."""

    instance: str
    target: str
    value: Hidden
    owner: tuple[int, int]
    mode: int

    def run(self) -> None:
        """Write it in memory.

        :raises SecretError: the kernel refused.
        """
        try:
            _helper.show(self.instance, self.target, self.value.value, self.owner, self.mode)
        except MountError as error:
            raise SecretError(str(error)) from error


@dataclass(frozen=True)
class RemoveStrays:
    """Step: remove files of secrets that an instance no longer has."""

    instance: str
    paths: tuple[str, ...]

    def run(self) -> None:
        """Remove them, and directories that are empty then.

        :raises SecretError: the kernel refused.
        """
        for path in self.paths:
            remove_file(path)
        _tidy(self.instance)


@dataclass(frozen=True)
class RemoveSecrets:
    """Step: remove all secrets of an instance that has been stopped. They are unlinked, not overwritten: in memory there is nothing to
    overwrite, and a file system on a disk writes elsewhere.
    """

    instance: str

    def run(self) -> None:
        """Remove them.

        :raises SecretError: the kernel refused.
        """
        for path in (folder(self.instance), os.path.join(STORE, self.instance)):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)
        _tidy(self.instance)


def _tidy(instance: str) -> None:
    """Remove what is empty. The directory of a running instance is mounted in it: without secrets, it is restarted before."""
    for path, top in ((os.path.join(STORE, instance), _paths.LIB), (folder(instance), folder(instance))):
        remove_empty_directories(path, top)
    try:
        _helper.forget_memory()
    except MountError as error:
        raise SecretError(str(error)) from error
