# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a registry is reached."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Access:
    """How to reach a registry: `server` is host[:port], `ca_path` a file of certificates in PEM."""

    server: str
    tls_verify: bool = True
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_path: str | None = None
