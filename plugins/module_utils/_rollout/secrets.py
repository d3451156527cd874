# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of an inventory's services, on the controller: which values a host needs, and what would show one. Pure.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import typing as t

from .._service.secret_options import every_text

Data = t.Dict[str, t.Any]

LIVE = frozenset({"on_change", "persist", "encoding"})
"""What of a service's secret changes without a new instance."""

KEYS = frozenset({"name", "target", "user", "group", "mode", *LIVE})
"""What a service may declare of a secret, as options of namespaced_service."""

LEAST = 8
"""Characters of a value; namespaced_service refuses shorter ones."""


def identity(secrets: t.Any) -> t.Any:
    """What of declared secrets is part of a release."""
    if not isinstance(secrets, list):
        return secrets
    return [
        {key: value for key, value in secret.items() if key not in LIVE} if isinstance(secret, dict) else secret
        for secret in secrets
    ]


def secret_values(plan: Data, values: t.Mapping[str, t.Any]) -> Data:
    """Of an inventory's values of secrets those that the services of a plan have secrets for: other hosts have other services."""
    needed = {
        key
        for service in plan["services"]
        for secret in service.get("secrets") or []
        if isinstance(secret, dict)
        for name in [secret.get("name")]
        for key in (name, f"{service['service']}/{name}", f"{service['name']}/{name}")
    }
    return {key: value for key, value in values.items() if key in needed}


def wrong(service: Data, values: t.Any) -> str | None:
    """What of a service's declaration would show a secret, since plans are printed; None if nothing. It tells places, not values."""
    if "secret_values" in service:
        return "secret_values: give values in isolation_secret_values, by service/secret"
    for secret in service.get("secrets") or []:
        unknown = sorted(map(str, set(secret) - KEYS)) if isinstance(secret, dict) else []
        if unknown:
            return f"secrets: {', '.join(unknown)} is not known here: give {', '.join(sorted(KEYS))}, and values in isolation_secret_values"
    known = values.items() if isinstance(values, t.Mapping) else ()
    for key, value in known:
        if not isinstance(value, str) or len(value) < LEAST:
            continue
        for option, given in service.items():
            for place, text in every_text(given, option):
                if value in text:
                    return f"{place}: has the value of secret {key} in it: the service finds that in a file in /run/secrets"
    return None
