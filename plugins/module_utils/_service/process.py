# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service's first process is started with, and what of it is refused. Pure."""

from __future__ import annotations

import re
import typing as t

from .._errors import InvalidOption

_SECRET_NAME = re.compile(
    r"(.*_)?(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS|API_?KEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY)",
    re.IGNORECASE,
)
"""Names of variables that end in what a secret is called: neither KEYBOARD nor DB_PASSWORD_FILE nor PUBLIC_KEY_URL."""

_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|(ghp|gho|ghs|ghr)_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}\b"
    r"|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
)
"""Beginnings of private keys and of tokens of common services."""


def looks_secret(key: str, value: str) -> bool:
    """Whether a variable looks like a secret."""
    path = value.startswith("/") and "\n" not in value
    return bool(value and ((_SECRET_NAME.fullmatch(key) and not path) or _SECRET_VALUE.match(value)))


def check_environment(environment: t.Iterable[tuple[str, str]], allowed: bool, name: str) -> None:
    """Refuse variables that look like secrets: they would be in the record, in config.json and in the diff. Values are not told.

    :raises InvalidOption: there is one.
    """
    if allowed:
        return
    for key, value in environment:
        if looks_secret(key, value):
            raise InvalidOption(
                f"{name}: environment: {key} looks like a secret, which the record, the bundle and the diff would show: use the option"
                " secrets, which makes a file of it, or set allow_secrets_in_environment to true"
            )


def parse_umask(text: str | None, name: str) -> int | None:
    """A file mode creation mask.

    :raises InvalidOption: it is no octal number up to 0777.
    """
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise InvalidOption(f"{name}: umask: {text!r} is not an octal mask such as 0027")
    return int(text, 8)


def parse_groups(given: t.Sequence[str], name: str) -> tuple[str, ...]:
    """Supplementary groups, each once.

    :raises InvalidOption: one can't be the name or the number of a group.
    """
    for item in given:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", item):
            raise InvalidOption(f"{name}: groups: {item!r} is neither a number nor the name of a group")
    return tuple(dict.fromkeys(given))


def parse_oom_score_adj(value: int | None, name: str) -> int | None:
    """How the kernel ranks a service when memory runs out.

    :raises InvalidOption: it is out of range; below 0, it would be protected at the cost of the host.
    """
    if value is not None and not 0 <= value <= 1000:
        raise InvalidOption(
            f"{name}: oom_score_adj: {value}: must be 0 to 1000; what is to be kept from others is given memory_min by its slice"
        )
    return value
