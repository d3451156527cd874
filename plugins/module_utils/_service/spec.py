# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of a service, in canonical form."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._hidden import Hidden
from .._units import format_size

LIVE = frozenset(
    {"after", "health", "held", "reload_command", "reload_signal", "requires", "restart", "stop_signal", "stop_timeout"}
)
"""Options whose change a running service is not restarted for."""


@dataclass(frozen=True)
class Network:
    """One network: its bridge, and what was given of its addresses, its MAC address (None: assigned once), and its routes.

    `routes` are networks with the router by which they are reached, None for the bridge. `aliases` are more names that siblings
    there know the service by.
    """

    bridge: str
    ipv4: str | None = None
    ipv6: str | None = None
    mac: str | None = None
    mtu: int | None = None
    default_route: bool = True
    routes: tuple[tuple[str, str | None], ...] = ()
    aliases: tuple[str, ...] = ()

    def canonical(self) -> dict[str, t.Any]:
        """The form that the record keeps: what was left at its default is not in it."""
        found: dict[str, t.Any] = {
            "bridge": self.bridge,
            "address": [item for item in (self.ipv4, self.ipv6) if item] or ["auto"],
        }
        if self.aliases:
            found["aliases"] = list(self.aliases)
        if self.mac:
            found["mac"] = self.mac
        if self.mtu:
            found["mtu"] = self.mtu
        if not self.default_route:
            found["default_route"] = False
        if self.routes:
            found["routes"] = [f"{to} via {via}" if via else to for to, via in self.routes]
        return found


@dataclass(frozen=True)
class BindMount:
    """A file or directory of the host that the service sees."""

    source: str
    target: str
    read_only: bool = False
    executable: bool = True
    propagation: str = "private"


@dataclass(frozen=True)
class VolumeMount(BindMount):
    """A named volume that the service sees; `source` is its name."""


@dataclass(frozen=True)
class DeviceNode:
    """A device of the host: where its node appears, and which of r, w and m are allowed."""

    path: str
    target: str
    permissions: str


@dataclass(frozen=True)
class Tmpfs:
    """A file system in memory; `size` in bytes."""

    target: str
    size: int
    mode: str


@dataclass(frozen=True)
class Restart:
    """When a service that has ended is started again, and after how many seconds."""

    policy: str = "always"
    delay: float = 0.1
    max_delay: float = 60.0


@dataclass(frozen=True)
class Health:
    """How to ask from the host whether a service is well; `kind` is http, tcp or exec. Times in seconds."""

    kind: str
    port: int
    path: str = "/"
    interval: float = 0.5
    timeout: float = 2.0
    retries: int = 3
    command: tuple[str, ...] = ()
    on_failure: str | None = None
    start_period: float = 30.0

    def canonical(self) -> dict[str, t.Any]:
        """The form that the record keeps."""
        return {
            "kind": self.kind,
            "port": self.port or None,
            "path": self.path,
            "interval": self.interval,
            "timeout": self.timeout,
            "retries": self.retries,
            "command": list(self.command),
            "on_failure": self.on_failure,
            "start_period": self.start_period,
        }


@dataclass(frozen=True)
class Gate:
    """What a start must reach, in seconds, and whether what was there before comes back otherwise."""

    min_healthy_time: float = 0.5
    deadline: float = 60.0
    auto_revert: bool = True


@dataclass(frozen=True)
class Dns:
    """The service's resolver; `nameservers` is None where the host's are taken."""

    nameservers: tuple[str, ...] | None = None
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Secret:
    """A secret that a service reads as a file; `value` is what the task gives, None if nothing."""

    name: str
    target: str
    user: str | None = None
    group: str | None = None
    mode: int = 0o400
    on_change: str = "restart"
    persist: bool = True
    encoding: str = "text"
    value: Hidden | None = None

    def keys(self, instance: str, service: str) -> tuple[str, ...]:
        """The names by which a task may give its value, the closest first."""
        return (f"{instance}/{self.name}", f"{service}/{self.name}", self.name)

    def given(self, value: Hidden | None) -> Secret:
        """The same, with a value."""
        return replace(self, value=value)

    def canonical(self) -> dict[str, t.Any]:
        """The form that the record keeps, without the value and how that was written."""
        return {
            "name": self.name,
            "target": self.target,
            "user": self.user,
            "group": self.group,
            "mode": f"{self.mode:04o}",
            "on_change": self.on_change,
            "persist": self.persist,
        }


@dataclass(frozen=True)
class FromFile:
    """What a file of the host adds to the environment."""

    path: str
    variables: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True)
class ServiceSpec:
    """One instance of a service, as it is asked for."""

    name: str
    service: str
    state: str = "started"
    rootfs: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    default_path: bool = False
    secrets_allowed: bool = False
    env_files: tuple[str, ...] = ()
    from_files: tuple[FromFile, ...] = ()
    user: str = "0:0"
    groups: tuple[str, ...] = ()
    umask: int | None = None
    oom_score_adj: int | None = None
    workdir: str = "/"
    timezone: str | None = None
    hostname: str = ""
    init: bool = True
    namespaces: tuple[tuple[str, str], ...] = ()
    slice: str | None = None
    id_base: int | None = None
    networks: tuple[Network, ...] = ()
    mounts: tuple[BindMount, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    purge_volumes: tuple[str, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    capabilities: tuple[str, ...] = ()
    seccomp: str = "default"
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    rlimits: tuple[tuple[str, int, int], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    dns: Dns = Dns()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    stop_signal: str = "SIGTERM"
    reload_signal: str | None = None
    reload_command: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    stop_timeout: float = 10.0
    standard_output: str = "direct"
    restart: Restart = Restart()
    health: Health | None = None
    gate: Gate = Gate()
    drain: float | None = None
    keep_running: float = 0.0
    secrets: tuple[Secret, ...] = ()
    offered: tuple[str, ...] = ()
    replaces: str | None = None
    beside: str | None = None
    held: bool | None = None
    recorded: bool = False
    runtime: str | None = None
    strict: bool = False

    @property
    def present(self) -> bool:
        """Whether it is to be there at all."""
        return self.state != "absent"

    @property
    def declared(self) -> bool:
        """Whether the task says what it is to be, not only whether it runs."""
        return self.present and not self.recorded

    @property
    def volume_names(self) -> tuple[str, ...]:
        """The named volumes that it uses, each once."""
        return tuple(sorted({volume.source for volume in self.volumes}))

    def namespace(self, kind: str) -> str:
        """Whose namespace of a kind it has: `private`, `host` or `service:NAME`."""
        return dict(self.namespaces).get(kind, "private")

    @property
    def joins(self) -> str | None:
        """The service or instance whose namespaces it joins."""
        value = self.namespace("user")
        return None if value == "private" else value.partition(":")[2]

    @property
    def path(self) -> tuple[str, ...]:
        """The directories in which its command is looked for."""
        return tuple(self.variables["PATH"].split(":"))

    @property
    def variables(self) -> dict[str, str]:
        """All environment variables, by name: files give no two values, and nothing that `environment` gives, but for a default `PATH`."""
        found = dict(self.environment)
        for file in self.from_files:
            found.update(file.variables)
        return dict(sorted(found.items()))

    def record(self) -> dict[str, t.Any]:
        """The canonical form that the record keeps, by option: what stays as it was asked for, so neither state nor gate."""
        return {
            "service": self.service,
            "rootfs": self.rootfs,
            "command": list(self.command),
            "environment": dict(self.environment),
            "env_files": list(self.env_files),
            "user": self.user,
            "groups": list(self.groups),
            "umask": None if self.umask is None else f"{self.umask:04o}",
            "oom_score_adj": self.oom_score_adj,
            "workdir": self.workdir,
            "timezone": self.timezone,
            "hostname": self.hostname,
            "init": self.init,
            "namespaces": dict(self.namespaces),
            "slice": self.slice,
            "networks": [network.canonical() for network in self.networks],
            "mounts": [
                {
                    "source": item.source,
                    "target": item.target,
                    "read_only": item.read_only,
                    "exec": item.executable,
                    **({} if item.propagation == "private" else {"propagation": item.propagation}),
                }
                for item in self.mounts
            ]
            + [
                {
                    "type": "volume",
                    "source": item.source,
                    "target": item.target,
                    "read_only": item.read_only,
                    "exec": item.executable,
                }
                for item in self.volumes
            ],
            "tmpfs": [
                {"target": item.target, "size": format_size(item.size), "mode": item.mode} for item in self.tmpfs
            ],
            "devices": [
                {"path": item.path, "target": item.target, "permissions": item.permissions} for item in self.devices
            ],
            "capabilities": list(self.capabilities),
            "seccomp": self.seccomp,
            "masked_paths": list(self.masked_paths),
            "readonly_paths": list(self.readonly_paths),
            "apparmor_profile": self.apparmor_profile,
            "selinux_label": self.selinux_label,
            "rlimits": {name: f"{soft}:{hard}" for name, soft, hard in self.rlimits},
            "sysctls": dict(self.sysctls),
            "dns": {
                "nameservers": None if self.dns.nameservers is None else list(self.dns.nameservers),
                "search": list(self.dns.search),
                "options": list(self.dns.options),
            },
            "extra_hosts": dict(self.extra_hosts),
            "stop_signal": self.stop_signal,
            "reload_signal": self.reload_signal,
            "reload_command": list(self.reload_command),
            "after": list(self.after),
            "requires": list(self.requires),
            "stop_timeout": self.stop_timeout,
            "standard_output": self.standard_output,
            "restart": {
                "policy": self.restart.policy,
                "delay": self.restart.delay,
                "max_delay": self.restart.max_delay,
            },
            "health": None if self.health is None else self.health.canonical(),
            "secrets": [secret.canonical() for secret in self.secrets],
            "held": bool(self.held),
        }
