# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps systemd-networkd, NetworkManager and udev off our links: a drop-in file for each.

They are written, and the daemons told, before the first link is made: udev gives a new link a MAC address of its own
choice otherwise (systemd.link(5), MACAddressPolicy), and the other two may take addresses and masters away.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .. import _paths
from .._plan import Step
from .files import RemoveFile, WriteFile, read_text
from .process import find_tool, run
from .systemd import active, booted

NETWORK = "/etc/systemd/network/05-isolation.network"
LINK = "/etc/systemd/network/05-isolation.link"
KEYFILE = "/etc/NetworkManager/conf.d/90-isolation.conf"
PATHS = (NETWORK, LINK, KEYFILE)

_DIGITS = 12
"""Hexadecimal digits after `iso` in the name of the host's end of a service's link (_names.interface_name)."""

_SERVICES = "iso" + "[0-9a-f]" * _DIGITS
_SERVICES_SHORT = "iso" + "?" * _DIGITS
"""NetworkManager's globs know no ranges (NetworkManager.conf(5), Device List Format); udev ignores patterns longer than a name."""


@dataclass(frozen=True)
class Managers:
    """Which of them the host has."""

    networkd: bool = False
    network_manager: bool = False
    udev: bool = False


@dataclass(frozen=True)
class State:
    """Which managers the host has, and the text of each drop-in that is there."""

    managers: Managers = Managers()
    files: t.Mapping[str, str] = field(default_factory=dict)


def managers() -> Managers:
    """Look for them. One that is installed counts, for it may be started at any time; udev counts where it runs."""
    folders = ("/usr/lib/systemd", "/lib/systemd")
    return Managers(
        networkd=booted() and any(os.path.exists(f"{folder}/systemd-networkd") for folder in folders),
        network_manager=find_tool("NetworkManager") is not None,
        udev=os.path.exists("/run/udev/control"),
    )


def state() -> State:
    """What the host has. Reads only."""
    found = {path: read_text(path) for path in PATHS}
    return State(managers(), {path: text for path, text in found.items() if text is not None})


def dropins(bridges: t.Iterable[str], ports: t.Iterable[str], found: Managers) -> dict[str, str]:
    """The drop-ins for bridges, the host's links that are ports of them, and all services' links. Pure.

    Ports are left alone, too: networkd and NetworkManager would take them out of a bridge that their own
    configuration does not name. udev still names them, since they may be real devices.
    """
    names = sorted(set(bridges))
    if not names:
        return {}
    ours = [*names, *sorted(set(ports) - set(names))]
    texts = {}
    if found.networkd:
        texts[NETWORK] = f"# {_paths.MARKER}\n[Match]\nName={' '.join([*ours, _SERVICES])}\n\n[Link]\nUnmanaged=yes\n"
    if found.udev:
        match = f"[Match]\nOriginalName={' '.join([*names, _SERVICES_SHORT])}\n"
        texts[LINK] = f"# {_paths.MARKER}\n{match}\n[Link]\nNamePolicy=keep\nMACAddressPolicy=none\n"
    if found.network_manager:
        devices = [*(f"interface-name:={name}" for name in ours), f"interface-name:{_SERVICES_SHORT}"]
        texts[KEYFILE] = f"# {_paths.MARKER}\n[keyfile]\nunmanaged-devices+={';'.join(devices)}\n"
    return texts


def stale(wanted: t.Mapping[str, str], found: State) -> tuple[str, ...]:
    """The paths of drop-ins that are not as wanted, sorted: to be written, or ours and to be removed. Pure."""
    differing = {path for path, text in wanted.items() if found.files.get(path) != text}
    surplus = {path for path, text in found.files.items() if path not in wanted and _paths.MARKER in text}
    return tuple(sorted(differing | surplus))


def steps(wanted: t.Mapping[str, str], found: State) -> tuple[Step, ...]:
    """What brings the drop-ins to what is wanted, and tells the daemons; empty if there is nothing to do. Pure.

    To be taken after links are deleted, and before others are made.
    """
    changed = stale(wanted, found)
    done: list[Step] = [WriteFile(path, wanted[path]) if path in wanted else RemoveFile(path) for path in changed]
    return (*done, ReloadManagers(changed)) if done else ()


@dataclass(frozen=True)
class ReloadManagers:
    """Step: tell the daemons whose drop-ins (`paths`) have changed, each if it runs. Links that are there keep their settings."""

    paths: tuple[str, ...]

    def run(self) -> None:
        """Tell them.

        :raises ToolError: one of them refused.
        """
        if LINK in self.paths and os.path.exists("/run/udev/control"):
            run(["udevadm", "control", "--reload"])
        if NETWORK in self.paths and booted() and active("systemd-networkd.service"):
            run(["networkctl", "reload"])
        if KEYFILE in self.paths and _network_manager_runs():
            run(["nmcli", "general", "reload", "conf"])


def _network_manager_runs() -> bool:
    if find_tool("nmcli") is None:
        return False
    return run(["nmcli", "--terse", "--fields", "RUNNING", "general"], check=False).stdout.strip() == "running"
