# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put the secrets of a service's instance where it reads them: `secrets restore NAME`.

Managed by daemonless.isolation. Why it is there: the plain values are in memory only, so that they are gone after a boot, and have to be
there before the runtime starts. systemd's own LoadCredentialEncrypted= has them in a directory that is fixed once the service runs
and that belongs to one user of the host; these files belong to ids of the service's range and are replaced while it runs. The supervisor
calls this before each start; what is there is left. What a service needs is told by its record.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import typing as t

from .mounting import NODEV, NOEXEC, NOSUID, MountError, attach, detach, find, make_mount, mounts

__all__ = [
    "SecretError",
    "ensure_memory",
    "folder",
    "forget_memory",
    "live",
    "main",
    "restore",
    "saved",
    "show",
    "stored",
]

RECORDS = "/etc/isolation/service"
MEMORY = "/run/isolation/secrets"
STORE = "/var/lib/isolation/secrets"
CREDS = "/usr/bin/systemd-creds"
SEALED, PLAIN = "sealed", "plain"
"""How a value is kept: encrypted by systemd-creds(1), or as it is, in a file that only root can read."""

_SIZE = "64M"
_PASSED = 0o755
"""Mode of an instance's directory: users of the service pass through it; on the host, nobody but root gets there."""


class SecretError(Exception):
    """A secret can't be put in place; the message says what to do."""


def folder(instance: str) -> str:
    """What an instance sees as /run/secrets."""
    return os.path.join(MEMORY, instance)


def live(instance: str, target: str) -> str:
    """The plain file that an instance reads."""
    return os.path.join(folder(instance), target)


def saved(instance: str, name: str, form: str) -> str:
    """Where the value is kept across boots."""
    return os.path.join(STORE, instance, f"{form}.{name}")


@contextlib.contextmanager
def _alone() -> t.Iterator[None]:
    """Of services that start at the same time, one makes the file system."""
    top = os.path.dirname(MEMORY)
    os.makedirs(top, 0o755, exist_ok=True)
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ensure_memory() -> None:
    """A file system of our own in memory, whatever /run is on this host. Linux 6.4 can keep it out of swap space, too.

    :raises MountError: the kernel refused.
    """
    if find(MEMORY, mounts()) is not None:
        return
    with _alone():
        if find(MEMORY, mounts()) is not None:
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(MEMORY, 0o700)
        options: dict[str, str | None] = {"size": _SIZE, "mode": "0700"}
        try:
            descriptor = make_mount("tmpfs", {**options, "noswap": None}, NOSUID | NODEV | NOEXEC)
        except MountError:
            descriptor = make_mount("tmpfs", options, NOSUID | NODEV | NOEXEC)
        try:
            attach(descriptor, MEMORY)
        finally:
            os.close(descriptor)


def forget_memory() -> None:
    """Take that file system away, once nothing is in it.

    :raises MountError: the kernel refused.
    """
    with contextlib.suppress(FileNotFoundError), _alone():
        if not os.listdir(MEMORY):
            detach(MEMORY, lazy=True)
            os.rmdir(MEMORY)


def show(instance: str, target: str, value: bytes, owner: tuple[int, int], mode: int, replace: bool = True) -> None:
    """Put a value where an instance reads it, whole at any time. Without `replace`, one that is there stays.

    :raises MountError: the kernel refused.
    """
    ensure_memory()
    top = folder(instance)
    with contextlib.suppress(FileExistsError):
        os.mkdir(top)
        os.chmod(top, _PASSED)
    staged = os.path.join(top, f".{target}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(value)
            os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
        if replace:
            os.rename(staged, live(instance, target))
        else:
            with contextlib.suppress(FileExistsError):
                os.link(staged, live(instance, target))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)


def _decrypt(path: str, name: str) -> bytes:
    try:
        done = subprocess.run(
            [CREDS, "decrypt", "--newline=no", f"--name={name}", path, "-"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            cwd="/",
            check=False,
        )
    except OSError as error:
        raise SecretError(f"{CREDS}: {error.strerror}: it comes with systemd 250 and newer") from error
    if done.returncode != 0:
        answer = done.stderr.decode(errors="replace").strip()
        raise SecretError(
            f"{path}: can't be decrypted on this host ({answer}): give its value again, in secret_values of namespaced_service"
        )
    return done.stdout


def stored(instance: str, name: str) -> bytes | None:
    """The value as it is kept across boots; None if it is not.

    :raises SecretError: it is there, but can't be read.
    """
    sealed = saved(instance, name, SEALED)
    if os.path.exists(sealed):
        return _decrypt(sealed, f"{instance}.{name}")
    try:
        with open(saved(instance, name, PLAIN), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def restore(instance: str, files: t.Iterable[tuple[str, str, tuple[int, int], int, bool]]) -> None:
    """Put each secret in place that is not: name, file, owner, mode, and whether it is kept across boots.

    :raises SecretError: a value is gone.
    """
    ensure_memory()
    for name, target, owner, mode, persist in files:
        path = live(instance, target)
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            value = stored(instance, name)
            if value is None:
                why = "it was kept nowhere" if persist else "it was in memory only (persist: false)"
                raise SecretError(
                    f"the value of secret {name} is gone, {why}: apply namespaced_service again, with secret_values"
                ) from None
            show(instance, target, value, owner, mode, replace=False)
            continue
        if (there.st_uid, there.st_gid) != owner:
            os.chown(path, *owner)
        if stat.S_IMODE(there.st_mode) != mode:
            os.chmod(path, mode)


def recorded(instance: str) -> list[tuple[str, str, tuple[int, int], int, bool]]:
    """What the record of an instance says of its secrets.

    :raises SecretError: there is no record, or it can't be read.
    """
    path = os.path.join(RECORDS, instance + ".json")
    found = []
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        base = int(record["assigned"]["id_base"])
        for item in record["spec"].get("secrets", []):
            uid, _colon, gid = record["assigned"]["secrets"][item["name"]].partition(":")
            owner = (base + int(uid), base + int(gid))
            found.append((item["name"], item["target"], owner, int(item["mode"], 8), bool(item["persist"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SecretError(f"{path}: no usable record of a service ({error}): apply namespaced_service again") from error
    return found


def main(arguments: t.Sequence[str]) -> int:
    """Be the program; return its exit status."""
    if len(arguments) != 2 or arguments[0] != "restore" or "/" in arguments[1]:
        sys.stderr.write("usage: secrets restore NAME\n")
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        restore(arguments[1], recorded(arguments[1]))
    except (MountError, SecretError, OSError) as error:
        sys.stderr.write(f"service {arguments[1]} is not started: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
