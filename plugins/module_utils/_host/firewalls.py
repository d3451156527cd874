# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firewalls of others, as far as they stop what goes to and from services. They are looked at, never changed."""

from __future__ import annotations

import re
import typing as t

from . import nft
from .files import read_text

FIREWALLD = "/etc/firewalld/firewalld.conf"

_STRICT = re.compile(r"^\s*StrictForwardPorts\s*=\s*(yes|true)\s*$", re.IGNORECASE | re.MULTILINE)


def _dropping(chains: t.Iterable[t.Mapping[str, t.Any]]) -> str | None:
    found = [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain["hook"] == "forward" and chain.get("policy") == "drop"
    ]
    if not found:
        return None
    return (
        f"nftables chain {', '.join(found)} (of Docker, ufw or another firewall) drops forwarded packets by policy, those of"
        " services too: allow them there, such as by iptables -I FORWARD -i BRIDGE -j ACCEPT and -o BRIDGE, or ufw route allow"
    )


def _strict(chains: t.Iterable[t.Mapping[str, t.Any]], settings: str | None) -> str | None:
    """See firewalld.conf(5), StrictForwardPorts: what others have translated is not accepted then."""
    if not any(chain["table"] == "firewalld" for chain in chains) or not _STRICT.search(settings or ""):
        return None
    return (
        f"firewalld drops ports that others publish, those of services too ({FIREWALLD} has StrictForwardPorts=yes):"
        " set it to no, and run firewall-cmd --reload"
    )


def judge(chains: t.Sequence[t.Mapping[str, t.Any]], settings: str | None) -> tuple[str, ...]:
    """What stops forwarded packets, with the remedy: `chains` are all that hang on a hook, `settings` firewalld's. Pure."""
    return tuple(found for found in (_dropping(chains), _strict(chains, settings)) if found is not None)


def warnings() -> tuple[str, ...]:
    """What stops forwarded packets on this host, with the remedy."""
    return judge(nft.base_chains(), read_text(FIREWALLD))
