# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the host that bridges need: forwarding, and what must be kept when it is switched on. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._host.files import WriteFile
from .._host.sysctl import WriteSysctl
from .._plan import Change, Step
from . import bootfiles
from .spec import BridgeSpec
from .state import FORWARDING, HOST_MEMORY, HOST_SYSCTLS, World, memory_text

_ALONG = {4: ("net/ipv4/conf/all/accept_redirects",), 6: ()}
"""Settings that the kernel changes when forwarding is switched (ip-sysctl.rst, ip_forward)."""


@dataclass(frozen=True)
class Settings:
    """What is to be done: lines, steps in order, files by path, files that are of no more use, and what to tell."""

    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    files: t.Mapping[str, str] = field(default_factory=dict)
    obsolete: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _family(version: int) -> str:
    return f"net/ipv{version}/"


def _remember(world: World, version: int) -> dict[str, str]:
    """Values to give back, read before forwarding is switched on."""
    before = {FORWARDING[version]: "0"}
    for key in _ALONG[version]:
        value = world.sysctls.get(key)
        if value is not None:
            before[key] = value
    before.update({key: value for key, value in world.forwarding_links.items() if key.startswith(_family(version))})
    if version == 6:
        for route in world.routes:
            key = f"net/ipv6/conf/{route.link}/accept_ra"
            # A forwarding host ignores router advertisements, and loses the routes from them, unless this is 2.
            if route.target == "default" and route.protocol == "ra" and world.sysctls.get(key) == "1":
                before[key] = "1"
    return before


def _wanted(needed: t.Iterable[int], memory: t.Mapping[str, str]) -> dict[str, str]:
    """The settings that must hold while there are bridges, in the order in which they are set."""
    wanted = {key: "2" for key in memory if key.endswith("/accept_ra")}
    wanted.update({FORWARDING[version]: "1" for version in needed})
    return wanted


_ROUTED_KINDS = frozenset({"bridge", "wireguard", "tun", "vxlan", "geneve", "gre", "ipip", "sit", "vti", "xfrm"})
"""Kinds of links whose makers (Docker, libvirt, VPNs) count on a host that forwards."""


def _newcomers(world: World, version: int) -> tuple[str, ...]:
    """Links that came after forwarding was switched on for bridges, and are likely to need it."""
    known = {*world.apart.get(version, ()), *world.records}
    return tuple(sorted(name for name, link in world.links.items() if link.kind in _ROUTED_KINDS and name not in known))


def settings(world: World, bridges: t.Mapping[str, BridgeSpec]) -> Settings:
    """What the host's settings need, with these bridges."""
    needed = [version for version in (4, 6) if any(bridge.subnets(version) for bridge in bridges.values())]
    memory = dict(world.memory)
    back: dict[str, str] = {}
    warnings = []
    for version in (4, 6):
        mine = {key: value for key, value in memory.items() if key.startswith(_family(version))}
        if version in needed:
            if world.sysctls.get(FORWARDING[version]) == "0" and not mine:
                memory.update(_remember(world, version))
        else:
            newcomers = _newcomers(world, version) if mine and version in world.apart else ()
            if newcomers:
                warnings.append(
                    f"{FORWARDING[version].replace('/', '.')} stays 1, though it was 0 before the first bridge: {', '.join(newcomers)}"
                    " came after it and may need forwarding: set it to 0 if nothing does"
                )
            back.update({} if newcomers else mine)
            memory = {key: value for key, value in memory.items() if key not in mine}
    kept = {version: names for version, names in world.others.items() if FORWARDING[version] in memory}
    wanted = _wanted(needed, memory)
    steps: list[Step] = []
    changes = []
    for key, value in {**wanted, **back}.items():
        found = world.sysctls.get(key)
        # What forwarding has changed along with itself is given back after it, whatever it is now.
        if found != value or key in back:
            steps.append(WriteSysctl(key, value, optional=key not in FORWARDING.values()))
        if found != value and found is not None:
            changes.append(Change(key.replace("/", "."), found, value))
    # The remembered values are written before anything is switched on, and forgotten after it was given back.
    files = {HOST_SYSCTLS: bootfiles.sysctl_file(wanted)}
    if memory:
        text = memory_text(memory, kept)
        files[HOST_MEMORY] = text
        if not back or not world.memory:
            return Settings(tuple(changes), tuple(steps), files, (), tuple(warnings))
        files.pop(HOST_MEMORY)
        return Settings(tuple(changes), (*steps, WriteFile(HOST_MEMORY, text)), files, (), tuple(warnings))
    obsolete = (HOST_MEMORY,) if bridges else (HOST_MEMORY, HOST_SYSCTLS)
    return Settings(tuple(changes), tuple(steps), files, obsolete, tuple(warnings))
