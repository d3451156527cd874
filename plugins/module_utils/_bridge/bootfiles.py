# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files by which bridges are there again after a boot, as text. Pure."""

from __future__ import annotations

import typing as t

from .. import _paths
from .._names import LINK_GROUP
from . import routes, routing
from .spec import BridgeSpec


def ip_batch(bridge: BridgeSpec, mac: str, mtu: int) -> str:
    """A batch for `ip -batch` that configures a bridge that is there. It can be repeated."""
    link = bridge.name
    lines = [
        f"# {_paths.MARKER}",
        f"link set dev {link} address {mac}",
        f"link set dev {link} mtu {mtu}",
        f"link set dev {link} group {LINK_GROUP}",
        f"link set dev {link} type bridge stp_state {int(bridge.stp)} forward_delay {bridge.forward_delay}"
        f" ageing_time {bridge.ageing_time}{' vlan_filtering 1' if bridge.vlan_filtering else ''}",
    ]
    lines += [
        f"address replace {address} dev {link}" + (" nodad" if ":" in address else "") for address in bridge.addresses
    ]
    lines.append(f"link set dev {link} up")
    lines += [routes.command("replace", entry, link) for entry in bridge.routes]
    return "\n".join(lines) + "\n"


def sysctl_file(values: t.Mapping[str, str]) -> str:
    """Kernel settings as lines of `key = value`, keys with slashes (sysctl.d(5))."""
    return "".join(
        f"{line}\n" for line in [f"# {_paths.MARKER}", *(f"{key} = {value}" for key, value in values.items())]
    )


def boot_script(bridges: t.Iterable[tuple[BridgeSpec, str]], folder: str, table_file: str) -> str:
    """The shell script that brings the bridges (each with its MAC address) back at boot. It can be repeated.

    The guards come before the links, and the links before forwarding can matter to them.
    """
    lines = [
        "#!/bin/sh",
        f"# {_paths.MARKER}",
        "set -e",
        "settings() {",
        "  while read -r key equals value; do",
        '    case $key in "#"*|"") continue ;; esac',
        '    if [ -e "/proc/sys/$key" ]; then echo "$value" >"/proc/sys/$key"; fi',
        '  done <"$1"',
        "}",
        "routing() {",
        '  told=$(ip "$@" 2>&1) || case $told in *"File exists"*) ;; *) echo "$told" >&2; return 1 ;; esac',
        "}",
        f"nft -f {table_file}",
        f"settings {folder}/_host.sysctl",
    ]
    bridges = sorted(bridges, key=lambda pair: pair[0].name)
    rules = routing.desired((bridge for bridge, _mac in bridges), six=True)
    lines += ["routing -4 " + rule.command("add") for rule in rules if rule.version == 4]
    lines += ["[ ! -e /proc/sys/net/ipv6 ] || routing -6 " + rule.command("add") for rule in rules if rule.version == 6]
    for bridge, mac in bridges:
        name = bridge.name
        lines += [
            f"[ -e /sys/class/net/{name} ] || ip link add name {name} address {mac} type bridge",
            f"settings {folder}/{name}.sysctl",
            f"ip -batch {folder}/{name}.ip",
        ]
        for port in bridge.ports:
            lines.append(
                f"if [ -e /sys/class/net/{port} ]; then ip link set dev {port} master {name} up;"
                f' else echo "bridge {name}: port {port} is not there" >&2; fi'
            )
    return "\n".join(lines) + "\n"
