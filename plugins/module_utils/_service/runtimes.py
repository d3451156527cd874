# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which OCI runtime starts an instance, and whether it is new enough. Pure."""

from __future__ import annotations

from .._host import oci
from .._host.libexec import path as helper_path
from .promises import ServiceRefused
from .spec import ServiceSpec
from .state import World

FLOORS: dict[str, tuple[tuple[int, ...], ...]] = {"crun": ((1, 25, 1),), "runc": ((1, 2, 8), (1, 3, 3), (1, 4))}
"""The first version of each line that has no known way out (CVE-2024-21626, CVE-2025-31133, -52565, -52881)."""


def below_floor(name: str, version: tuple[int, ...]) -> bool:
    """Whether a runtime of this version has known ways out."""
    lines = FLOORS[name]
    for floor in lines:
        if version[: len(floor) - 1] == floor[: len(floor) - 1]:
            return version < floor
    return version < lines[-1]


def choose_runtime(spec: ServiceSpec, world: World) -> tuple[str, list[str], list[str]]:
    """The runtime's name, warnings, and what is lacking.

    :raises ServiceRefused: it is too old, and the policy is strict.
    """
    record = world.records.get(spec.name)
    kept = record.assigned.get("runtime") if record is not None else None
    if world.systemd and spec.runtime == "runc":
        raise ServiceRefused(
            f"service {spec.name}: runtime: runc makes control groups beside systemd's, out of the slice: use crun on this host"
        )
    known = oci.RUNTIMES[:1] if world.systemd else oci.RUNTIMES
    name = spec.runtime or kept or next((one for one in known if one in world.runtimes), known[0])
    runtime = world.runtimes.get(name)
    if runtime is None:
        return (
            name,
            [],
            [
                f"service {spec.name}: the runtime {name} is not installed: install the package {name}, or apply the role"
                " daemonless.isolation.isolation_host first"
            ],
        )
    if not below_floor(name, runtime.version):
        return name, [], []
    floors = " or ".join(".".join(map(str, floor)) for floor in FLOORS[name])
    said = (
        f"{runtime.shown} is older than {floors}: known ways out of a container are closed there (CVE-2025-31133,"
        " CVE-2025-52565, CVE-2025-52881), unless your distribution has mended this version"
    )
    if spec.strict:
        raise ServiceRefused(f"service {spec.name}: {said}: upgrade {name}, or set runtime_policy to warn")
    return name, [said], []


def has_time_namespaces(spec: ServiceSpec, runtime: str, world: World) -> bool:
    """Whether a service can have a time namespace: with Linux 5.6, and with crun, or runc 1.2.

    :raises ServiceRefused: it is to join one, and can't.
    """
    found = world.runtimes.get(runtime)
    able = world.time_namespaces and (runtime == "crun" or (found is not None and found.version >= (1, 2)))
    if not able and spec.namespace("time") not in ("private", "host"):
        raise ServiceRefused(
            f"service {spec.name}: namespaces: time: {spec.namespace('time')}: this host can't join time namespaces: that takes"
            " Linux 5.6, and crun or runc 1.2"
        )
    return able


def program(runtime: str, world: World) -> str:
    """What the supervisor starts: crun by the helper that knows about mixed control groups."""
    if runtime == "crun":
        return helper_path(oci.RUNTIME_HELPER)
    found = world.runtimes.get(runtime)
    return found.path if found is not None else f"/usr/bin/{runtime}"
