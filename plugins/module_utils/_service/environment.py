# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Environment variables from files of the host. Pure. No message has a value in it."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import replace

from .._errors import InvalidOption
from .._host.environment import EnvironmentFile
from .process import looks_secret
from .promises import ServiceRefused
from .spec import FromFile, ServiceSpec

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The name of a variable."""


def parse_files(given: t.Sequence[str], name: str, normal: t.Callable[[str, str], str]) -> tuple[str, ...]:
    """The files that are asked for; `normal` is what makes a path a normal one.

    :raises InvalidOption: one is no absolute path, or there twice.
    """
    paths = tuple(normal(item, f"{name}: env_files") for item in given)
    for path in paths:
        if paths.count(path) > 1:
            raise InvalidOption(f"{name}: env_files: {path} is there more than once: leave all but one out")
    return paths


def _variables(spec: ServiceSpec, path: str, file: EnvironmentFile) -> dict[str, str]:
    """What a file says: lines NAME=VALUE, as `docker run --env-file` reads them.

    :raises ServiceRefused: a line is none, or looks like a secret.
    """
    found = {}
    for number, line in enumerate(file.content.split(b"\n"), 1):
        where = f"service {spec.name}: env_files: {path}: line {number}"
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise ServiceRefused(f"{where}: is not UTF-8") from None
        found.update(_variable(spec, text.lstrip(), where))
    return found


def _variable(spec: ServiceSpec, text: str, where: str) -> dict[str, str]:
    if not text or text.startswith("#"):
        return {}
    key, equals, value = text.partition("=")
    if not equals or not VARIABLE.fullmatch(key) or "\0" in value:
        raise ServiceRefused(
            f"{where}: is not NAME=VALUE: a name has letters, digits and _, and no blank stands before the ="
        )
    if looks_secret(key, value) and not spec.secrets_allowed:
        raise ServiceRefused(
            f"{where}: {key} looks like a secret, which every process of the service would inherit: use the option secrets, which makes a"
            " file of it, or set allow_secrets_in_environment to true"
        )
    for secret in spec.secrets:
        if secret.value is not None and any(hidden in value for hidden in secret.value.texts()):
            raise ServiceRefused(
                f"{where}: {key} has the value of secret {secret.name} in it: the service finds the value in a file in /run/secrets"
            )
    return {key: value}


def with_files(spec: ServiceSpec, files: t.Mapping[str, EnvironmentFile]) -> ServiceSpec:
    """The same, with what its files say: of each those variables that neither `environment` nor a later file gives.

    :raises ServiceRefused: a file can't be read, or says what can't be meant.
    """
    taken = {key for key, _value in spec.environment if not (spec.default_path and key == "PATH")}
    found: list[FromFile] = []
    for path in reversed(spec.env_files):
        file = files[path]
        if file.error is not None:
            raise ServiceRefused(
                f"service {spec.name}: env_files: {path}: {file.error}: it is read on the host: make it there, or leave it out"
            )
        own = {key: value for key, value in _variables(spec, path, file).items() if key not in taken}
        taken |= set(own)
        found.insert(0, FromFile(path, tuple(sorted(own.items()))))
    return replace(spec, from_files=tuple(found))


def digests(spec: ServiceSpec) -> dict[str, str]:
    """What tells whether a file gives other values than before, and does not tell the values."""
    return {item.path: hashlib.sha256(json.dumps(item.variables).encode()).hexdigest()[:16] for item in spec.from_files}
