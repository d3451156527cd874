# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts of a service: what is asked of them, and what this host can't give. Pure."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .promises import ServiceRefused
from .spec import BindMount, ServiceSpec, Tmpfs, VolumeMount

PRIVATE, RECEIVING = "private", "rslave"

AnyMount = t.Union[BindMount, Tmpfs]


def parse_propagation(item: t.Mapping[str, t.Any], option: str) -> str:
    """Whether mounts that the host makes later below a source are seen.

    :raises InvalidOption: it is none of what a service can have.
    """
    given = str(item.get("propagation") or PRIVATE)
    if given in ("shared", "rshared"):
        raise InvalidOption(
            f"{option}: {given}: what a service mounts would appear on the host, about which nothing in a user namespace of its own is to"
            f" decide: use {RECEIVING}, by which it sees what the host mounts, and mount on the host"
        )
    if given not in (PRIVATE, RECEIVING):
        raise InvalidOption(f"{option}: {given!r} is none of {PRIVATE} and {RECEIVING}")
    if given != PRIVATE and item.get("type") == "volume":
        raise InvalidOption(
            f"{option}: {given}: a volume is a mount of its service's own, below which the host mounts nothing"
        )
    return given


def all_mounts(spec: ServiceSpec) -> tuple[AnyMount, ...]:
    """What is mounted by its options, but for secrets."""
    return (*spec.mounts, *spec.volumes, *spec.tmpfs)


def above(spec: ServiceSpec, target: str) -> AnyMount | None:
    """The mount in which a target lies; None if that is the root filesystem."""
    holding = [mount for mount in all_mounts(spec) if target.startswith(mount.target + "/")]
    return max(holding, key=lambda mount: len(mount.target), default=None)


def in_read_only(spec: ServiceSpec) -> list[tuple[str, BindMount]]:
    """The targets that lie in mounts which can't be written to, with those."""
    found = []
    for mount in all_mounts(spec):
        holder = above(spec, mount.target)
        if isinstance(holder, BindMount) and holder.read_only:
            found.append((mount.target, holder))
    return found


def check_targets(
    spec: ServiceSpec, missing: t.Collection[str], read_only_root: bool, lacking: t.Collection[str]
) -> None:
    """Refuse targets that are not there and can't be made. `missing` are those that the root filesystem does not have, `lacking` those
    that a mount which can't be written to does not have.

    :raises ServiceRefused: there is one.
    """
    for target, holder in in_read_only(spec):
        if target in lacking:
            volume = "volume" if isinstance(holder, VolumeMount) else "directory of the host"
            raise ServiceRefused(
                f"service {spec.name}: mounts: target: {target} lies in {holder.target}, which is mounted read-only and has nothing there:"
                f" make it in the {volume} {holder.source}, or mount that without read_only"
            )
    if not read_only_root:
        return
    for mount in all_mounts(spec):
        if mount.target in missing and above(spec, mount.target) is None:
            option = "tmpfs" if isinstance(mount, Tmpfs) else "mounts"
            raise ServiceRefused(
                f"service {spec.name}: {option}: target: {mount.target} is not there in the root filesystem, which is read-only: lay it in"
                f" with daemonless.isolation.rootfs_prepare (files: path {mount.target}, state directory), or choose a place that is there"
            )


def check_links(spec: ServiceSpec, links: t.Mapping[str, tuple[str, str]]) -> None:
    """Refuse sources that somebody else than root can lead elsewhere.

    :raises ServiceRefused: there is one.
    """
    for mount in spec.mounts:
        if mount.source in links:
            link, leads = links[mount.source]
            raise ServiceRefused(
                f"service {spec.name}: mounts: source: {mount.source} leads through the symbolic link {link}, which others than root can"
                f" change, and with it what of the host is mounted: give {leads}, or let the link and all directories above it belong to"
                " root, writable by nobody else"
            )


def check_receiving(spec: ServiceSpec, receiving: t.Collection[str], files: t.Collection[str]) -> None:
    """Refuse a propagation that would bring nothing.

    :raises ServiceRefused: nothing is passed on from the source.
    """
    for mount in spec.mounts:
        if mount.propagation == PRIVATE:
            continue
        what = f"service {spec.name}: mounts: propagation: {mount.propagation}: {mount.source}"
        if mount.source in files:
            raise ServiceRefused(f"{what} is a single file, below which nothing can be mounted: leave propagation out")
        if mount.source not in receiving:
            raise ServiceRefused(
                f"{what} lies on a mount of the host that passes no mounts on: make it shared (mount --make-rshared), at boot too,"
                " or leave propagation out"
            )
