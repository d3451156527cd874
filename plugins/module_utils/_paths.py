# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things lie on a host (docs/architecture.md explains each)."""

from __future__ import annotations

ETC = "/etc/isolation"
LIB = "/var/lib/isolation"
RUN = "/run/isolation"
LIBEXEC = "/usr/local/libexec/isolation"
UNITS = "/etc/systemd/system"

IMAGES = LIB + "/images"
INSTANCES = LIB + "/instances"
VOLUMES = LIB + "/volumes"

LOCK = RUN + "/lock"

NAT_TABLE = ETC + "/nat.nft"
"""The whole table of published ports, from which it comes back at boot."""

MARKER = "Managed by daemonless.isolation"
"""The comment that every file of ours carries: ownership is by record and marker, never by a name's prefix."""
