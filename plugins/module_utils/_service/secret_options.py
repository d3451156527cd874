# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From options to the secrets of a service and their values. Pure. No message has a value in it."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import typing as t

from .._errors import InvalidOption
from .._hidden import LEAST, Hidden
from .spec import Secret

FOLDER = "/run/secrets"
MOST = 512 * 1024
"""Bytes of a value: systemd-creds(1) encrypts up to a megabyte."""

DIFFERENT = 4
"""Different characters that a value has at least."""

SECRET: dict[str, t.Any] = {
    "name": {"type": "str"},
    "target": {"type": "str"},
    "user": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0400"},
    "on_change": {"type": "str", "choices": ["restart", "reload", "none"], "default": "restart"},
    "persist": {"type": "bool", "default": True},
    "encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
}
# Names only: what is secret is in secret_values.
SECRETS: dict[str, t.Any] = {"type": "list", "elements": "dict", "options": SECRET, "default": [], "no_log": False}
BESIDE: dict[str, t.Any] = {"secret_values": {"type": "dict", "no_log": True}}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_COMMON = (
    "daemonless.isolation.namespaced_service ansible_collections python3 runsv crun runc systemd service.slice"
    " /etc/isolation/service/ /var/lib/isolation/instances/ /run/isolation/secrets/ /usr/local/libexec/isolation/ rootfs.json config.json"
    " changed unchanged started stopped restarted present absent failed results invocation module_args exception"
)
"""What tasks say anyway."""


def _target(given: t.Any, name: str, option: str) -> str:
    """The name of the file: all secrets lie in one directory, since a file that is mounted alone can't be replaced."""
    target = str(given) if given else name
    if target.startswith(FOLDER + "/"):
        target = posixpath.relpath(target, FOLDER)
    if not _NAME.fullmatch(target):
        raise InvalidOption(
            f"{option}: target: {target!r}: secrets are files directly below {FOLDER}: give the name of one, with letters, digits,"
            " _, . and - (elsewhere, make a link in the root filesystem)"
        )
    return target


def _mode(given: str, option: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", given) or int(given, 8) & ~0o444 or not int(given, 8):
        raise InvalidOption(
            f"{option}: mode: {given!r} must be an octal mode that allows reading only, such as 0400 or 0440"
        )
    return int(given, 8)


def _declared(item: t.Mapping[str, t.Any], instance: str) -> Secret:
    name = item.get("name")
    if not name or not _NAME.fullmatch(name):
        raise InvalidOption(
            f"{instance}: secrets: name: needed, of letters, digits, _, . and -, at most 64, none of them . or - in front"
        )
    option = f"{instance}: secrets: {name}"
    for key in ("user", "group"):
        if item.get(key) is not None and not _ID.fullmatch(item[key]):
            raise InvalidOption(f"{option}: {key}: write a number, or a name that the root filesystem has")
    return Secret(
        name=name,
        target=_target(item.get("target"), name, option),
        user=item.get("user"),
        group=item.get("group"),
        mode=_mode(item["mode"], option),
        on_change=item["on_change"],
        persist=bool(item["persist"]),
        encoding=item["encoding"],
    )


def _text(given: t.Any, option: str) -> str:
    """A value as it was given. YAML's numbers are taken as they are written; what may be written in several ways is refused."""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise InvalidOption(f"{option}: must be a text: put it in quotes")
    text = str(given)
    if len(text) < LEAST or len(set(text)) < DIFFERENT or text in _COMMON:
        raise InvalidOption(
            f"{option}: too short or too common: whatever a task says is searched for it and blanked out; use at least {LEAST} characters,"
            f" {DIFFERENT} different ones among them"
        )
    return text


def _value(text: str, encoding: str, option: str) -> Hidden:
    try:
        value = text.encode(errors="surrogateescape")
        if encoding == "base64":
            value = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidOption(f"{option}: is not {encoding}, which its secret's encoding says") from None
    if not 1 <= len(value) <= MOST:
        raise InvalidOption(f"{option}: must have 1 to {MOST} bytes")
    return Hidden(value)


def every_text(value: t.Any, place: str) -> t.Iterator[tuple[str, str]]:
    """Every text of an option, with its place."""
    if isinstance(value, t.Mapping):
        for key, item in value.items():
            yield place, str(key)
            yield from every_text(item, f"{place}: {key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from every_text(item, place)
    elif value is not None and not isinstance(value, bool):
        yield place, str(value)


def _check_elsewhere(options: t.Mapping[str, t.Any], values: t.Mapping[str, str], instance: str) -> None:
    """Refuse a secret whose value stands in another option, where it would be in records, bundles and diffs."""
    others = {key: value for key, value in options.items() if key not in BESIDE}
    found = [pair for key, value in others.items() for pair in every_text(value, key)]
    for key, value in values.items():
        for place, text in found:
            if value in text:
                raise InvalidOption(
                    f"{instance}: {place}: has the value of secret {key} in it, which many can read there: the service finds the value in"
                    f" a file in {FOLDER}; if it is no secret, but a common word, choose another value"
                )


def _check_targets(options: t.Mapping[str, t.Any], instance: str) -> None:
    for option in ("mounts", "tmpfs"):
        for item in options.get(option) or []:
            target = posixpath.normpath(str(item.get("target")))
            if target == FOLDER or target.startswith(FOLDER + "/"):
                raise InvalidOption(f"{instance}: {option}: {target}: {FOLDER} belongs to the option secrets")


def parse_secrets(
    options: t.Mapping[str, t.Any], instance: str, service: str
) -> tuple[tuple[Secret, ...], tuple[str, ...]]:
    """The secrets of an instance with those values that the task gives, and the names of all values of the task.

    :raises InvalidOption: one can't be meant, or stands where it is not secret.
    """
    declared = [_declared(item, instance) for item in options.get("secrets") or []]
    for key in ("name", "target"):
        found = [getattr(item, key) for item in declared]
        if len(set(found)) < len(found):
            raise InvalidOption(f"{instance}: secrets: two of them have the same {key}")
    if declared:
        _check_targets(options, instance)
    offered = options.get("secret_values") or {}
    texts = {str(key): _text(value, f"secret_values: {key}") for key, value in offered.items()}
    if texts:
        _check_elsewhere(options, texts, instance)
    secrets = []
    for item in declared:
        closest = next((key for key in item.keys(instance, service) if key in texts), None)
        value = None if closest is None else _value(texts[closest], item.encoding, f"secret_values: {closest}")
        secrets.append(item.given(value))
    return tuple(sorted(secrets, key=lambda item: item.name)), tuple(texts)
