# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the options of one element to what is asked of a service. Pure; whatever can't be meant is refused here."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import typing as t

from .. import _idrange
from .._errors import InvalidOption
from .._names import check_name, check_path_name
from .._units import parse_seconds, parse_size
from .devices import parse_devices
from .environment import VARIABLE, parse_files
from .health import parse_health
from .labels import parse_label, parse_profile
from .mounts import parse_propagation
from .namespaces import OWNED, check_options, init_of, parse_namespaces
from .netoptions import HOSTNAME, parse_networks
from .options import OPTIONS
from .ordering import parse_names
from .paths import needed, parse_paths
from .privileges import parse_capabilities, parse_rlimits
from .process import check_environment, parse_groups, parse_oom_score_adj, parse_umask
from .secret_options import parse_secrets
from .spec import BindMount, Dns, Gate, Restart, ServiceSpec, Tmpfs, VolumeMount
from .stops import parse_drain, parse_keep_running, parse_reload, parse_signal, parse_stop_timeout
from .timezone import parse_timezone

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SYSCTLS = tuple(begin for begin, _kind in OWNED)
"""Settings that belong to namespaces which a service has of its own (namespaces(7))."""

RECORDED_STATES = ("present", "started", "stopped", "restarted")
WITH_NAME = frozenset({"name", "state", "gate", "drain", "keep_running", "held", "replaces", "beside"})
"""What can be given of an instance that is there, without saying again what it is."""

RESERVED = ("/proc", "/sys", "/dev")
FIXED = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.-]*\$?)?")


def _text(value: t.Any, option: str) -> str:
    """A value of a dictionary as text: YAML's numbers and truth values are taken as they were meant."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise InvalidOption(f"{option}: {value!r} is not a text or a number")
    return _no_zero(str(value), option)


def _no_zero(value: str, option: str) -> str:
    if "\0" in value:
        raise InvalidOption(f"{option}: a zero byte can't be part of it")
    return value


def _absolute(value: str | None, option: str) -> str:
    """A normal absolute path."""
    if not value or not value.startswith("/"):
        raise InvalidOption(f"{option}: {value!r} is not an absolute path")
    if ".." in value.split("/"):
        raise InvalidOption(f"{option}: {value!r} must not contain '..'")
    normal = posixpath.normpath(_no_zero(value, option))
    return normal[1:] if normal.startswith("//") else normal


def _target(value: str | None, option: str) -> str:
    """A place in the service where something can be mounted."""
    target = _absolute(value, option)
    if target == "/" or any(target == top or target.startswith(top + "/") for top in RESERVED):
        raise InvalidOption(f"{option}: {target}: nothing can be mounted on or below /, {', '.join(RESERVED)}")
    if target in FIXED:
        raise InvalidOption(f"{option}: {target} is made by the options hostname, dns and extra_hosts")
    return target


def _source(item: t.Mapping[str, t.Any], option: str) -> str:
    """A path for a bind mount, a name for a volume: one that was meant as the other is refused, never guessed."""
    source = item.get("source")
    if item.get("type") != "volume":
        return _absolute(source, option)
    if not source or "/" in source:
        raise InvalidOption(f"{option}: {source!r} is not the name of a volume; a path is mounted with type: bind")
    return check_name(source, option)


def _mounts(
    options: t.Mapping[str, t.Any], name: str
) -> tuple[tuple[BindMount, ...], tuple[VolumeMount, ...], tuple[Tmpfs, ...]]:
    binds: list[BindMount] = []
    volumes: list[VolumeMount] = []
    memory: list[Tmpfs] = []
    for item in options["mounts"]:
        source = _source(item, f"{name}: mounts: source")
        target = _target(item.get("target"), f"{name}: mounts: target")
        flags = bool(item["read_only"]), bool(item["exec"])
        propagation = parse_propagation(item, f"{name}: mounts: propagation")
        if item.get("type") == "volume":
            volumes.append(VolumeMount(source, target, *flags))
        else:
            binds.append(BindMount(source, target, *flags, propagation))
    for item in options["tmpfs"]:
        size = parse_size(item["size"], f"{name}: tmpfs: size")
        if not re.fullmatch(r"0?[0-7]{3,4}", item["mode"]):
            raise InvalidOption(f"{name}: tmpfs: mode: {item['mode']!r} is not an octal mode such as 1777")
        mode = item["mode"].lstrip("0") or "0"
        memory.append(Tmpfs(_target(item.get("target"), f"{name}: tmpfs: target"), size, mode))
    targets = [bind.target for bind in (*binds, *volumes)] + [item.target for item in memory]
    for target in targets:
        hidden = [path for path in FIXED if path.startswith(target + "/")]
        if hidden:
            raise InvalidOption(f"{name}: mounts: {target} would hide {hidden[0]}, which the service is given")
        if targets.count(target) > 1:
            raise InvalidOption(f"{name}: mounts: {target} is the target of more than one mount")
    return tuple(binds), tuple(volumes), tuple(memory)


def _sysctls(given: t.Mapping[str, t.Any], name: str) -> tuple[tuple[str, str], ...]:
    for key in given:
        if not key.startswith(SYSCTLS):
            raise InvalidOption(
                f"{name}: sysctls: {key} does not belong to the service's own namespaces:"
                f" only settings that begin with {', '.join(SYSCTLS)} can be set"
            )
    return tuple(sorted((key, _text(value, f"{name}: sysctls: {key}")) for key, value in given.items()))


def _environment(given: t.Mapping[str, t.Any], name: str) -> tuple[tuple[str, str], ...]:
    for key in given:
        if not VARIABLE.fullmatch(key):
            raise InvalidOption(f"{name}: environment: {key!r} can't be the name of a variable")
    found = {"PATH": DEFAULT_PATH}
    found.update({key: _text(value, f"{name}: environment: {key}") for key, value in given.items()})
    return tuple(sorted(found.items()))


def _ip(text: str, option: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidOption(f"{option}: {text!r} is not an IP address") from None


def _dns(given: t.Mapping[str, t.Any] | None, name: str) -> Dns:
    if given is None:
        return Dns()
    servers = given.get("nameservers")
    for item in (*given["search"], *given["options"]):
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", item):
            raise InvalidOption(f"{name}: dns: {item!r} can't be part of resolv.conf(5)")
    return Dns(
        None if servers is None else tuple(_ip(item, f"{name}: dns: nameservers") for item in servers),
        tuple(given["search"]),
        tuple(given["options"]),
    )


def _extra_hosts(given: t.Mapping[str, t.Any], name: str) -> tuple[tuple[str, str], ...]:
    for host in given:
        if not HOSTNAME.fullmatch(host):
            raise InvalidOption(f"{name}: extra_hosts: {host!r} is not a host name")
    return tuple(sorted((host, _ip(str(address), f"{name}: extra_hosts: {host}")) for host, address in given.items()))


def _restart(given: t.Mapping[str, t.Any] | None, name: str) -> Restart:
    if given is None:
        return Restart()
    delay = parse_seconds(given["delay"], f"{name}: restart: delay")
    longest = parse_seconds(given["max_delay"], f"{name}: restart: max_delay")
    if delay < 0.01 or longest < delay:
        raise InvalidOption(f"{name}: restart: delay must be at least 10ms, and max_delay not below it")
    return Restart(given["policy"], delay, longest)


def _gate(given: t.Mapping[str, t.Any] | None, name: str) -> Gate:
    if given is None:
        return Gate()
    least = parse_seconds(given["min_healthy_time"], f"{name}: gate: min_healthy_time")
    deadline = parse_seconds(given["deadline"], f"{name}: gate: deadline")
    if deadline <= least:
        raise InvalidOption(f"{name}: gate: deadline must be longer than min_healthy_time")
    return Gate(least, deadline, given["auto_revert"])


def _check_workdir(value: str, name: str) -> str:
    """T2: a working directory under /proc can be one that was left open by the runtime."""
    workdir = _absolute(value, f"{name}: workdir")
    if workdir == "/proc" or workdir.startswith("/proc/"):
        raise InvalidOption(f"{name}: workdir: {workdir}: a directory under /proc is refused")
    return workdir


def _rootfs(value: str | None, name: str) -> str:
    if not value:
        raise InvalidOption(f"{name}: rootfs: needed unless state is absent")
    if not value.startswith("/"):
        return check_name(value, f"{name}: rootfs")
    path = _absolute(value, f"{name}: rootfs")
    if path == "/":
        raise InvalidOption(f"{name}: rootfs: the host's own root can't be a service's")
    return path


def _command(options: t.Mapping[str, t.Any], name: str) -> tuple[str, ...]:
    words = [*(options.get("command") or []), *options["args"]]
    if not options.get("command") or not words[0]:
        raise InvalidOption(f"{name}: command: needed unless state is absent")
    return tuple(_no_zero(word, f"{name}: command") for word in words)


def _other(options: t.Mapping[str, t.Any], option: str, name: str) -> str | None:
    """The name of another instance."""
    given = options.get(option)
    if given == name:
        raise InvalidOption(f"{name}: {option}: {given} is itself: name another instance")
    return check_name(given, f"{name}: {option}") if given else None


def _others(options: t.Mapping[str, t.Any], name: str) -> tuple[str | None, str | None]:
    replaces, beside = (_other(options, option, name) for option in ("replaces", "beside"))
    if replaces and beside:
        raise InvalidOption(
            f"{name}: replaces, beside: an instance takes the place of {replaces}, or starts beside {beside}: give one"
        )
    return replaces, beside


def _recorded(options: t.Mapping[str, t.Any], name: str, offered: tuple[str, ...]) -> ServiceSpec:
    """An instance that is named alone: whatever else was given would be a change, and is refused."""
    for option, rule in OPTIONS.items():
        given = options.get(option)
        if option not in WITH_NAME and given is not None and given != rule.get("default"):
            raise InvalidOption(
                f"{name}: {option}: without command and rootfs only {', '.join(sorted(WITH_NAME))} can be given, and all else stays"
                " as it was asked for last: give command and rootfs, too, or leave it out"
            )
    replaces, beside = _others(options, name)
    return ServiceSpec(
        name,
        name,
        options["state"],
        gate=_gate(options.get("gate"), name),
        drain=parse_drain(options, name),
        keep_running=parse_keep_running(options, name),
        replaces=replaces,
        beside=beside,
        held=options.get("held"),
        offered=offered,
        recorded=True,
    )


def parse(options: t.Mapping[str, t.Any]) -> ServiceSpec:
    """One element's options.

    :raises InvalidOption: an option can't be meant.
    """
    name = check_name(options["name"])
    service = check_name(options.get("service") or name, f"{name}: service")
    purged = tuple(check_name(item, f"{name}: purge_volumes") for item in options["purge_volumes"])
    secrets, offered = parse_secrets(options, name, service)
    if options["state"] == "absent":
        drain = parse_drain(options, name)
        parse_keep_running(options, name)
        return ServiceSpec(name, service, "absent", purge_volumes=purged, drain=drain, secrets=secrets, offered=offered)
    if purged:
        raise InvalidOption(f"{name}: purge_volumes: only with state: absent")
    if options["state"] in RECORDED_STATES and not options.get("command") and not options.get("rootfs"):
        return _recorded(options, name, offered)
    hostname = options.get("hostname") or service
    if len(hostname) > 64 or not HOSTNAME.fullmatch(hostname):
        raise InvalidOption(f"{name}: hostname: {hostname!r} is not a host name of at most 64 characters")
    if not _USER.fullmatch(options["user"]):
        raise InvalidOption(f"{name}: user: {options['user']!r}: write uid:gid, a name, or name:group")
    id_base = options.get("id_base")
    if id_base is not None and not _idrange.SIZE <= id_base <= 2**32 - 1 - _idrange.SIZE:
        raise InvalidOption(f"{name}: id_base: {id_base}: must be at least {_idrange.SIZE}, and leave room for a range")
    seccomp = options["seccomp"]
    if seccomp not in ("default", "unconfined"):
        seccomp = _absolute(seccomp, f"{name}: seccomp: default, unconfined or the path of a profile")
    binds, volumes, memory = _mounts(options, name)
    networks = parse_networks(options["networks"], name)
    health = parse_health(options.get("health"), name)
    environment = _environment(options["environment"], name)
    secrets_allowed = bool(options.get("allow_secrets_in_environment"))
    check_environment(environment, secrets_allowed, name)
    namespaces = parse_namespaces(options.get("namespaces"), name)
    check_options(options, dict(namespaces), name)
    if health is not None and health.kind != "exec" and not networks and "network" not in dict(namespaces):
        raise InvalidOption(f"{name}: health: a service without networks can't be asked from the host: use exec")
    reload_signal, reload_command = parse_reload(options, name, dict(namespaces).get("pid", "private"))
    workdir = _check_workdir(options["workdir"], name)
    devices = parse_devices(options.get("devices") or (), name)
    targets = [item.target for item in (*binds, *volumes)] + [item.target for item in memory]
    seen = needed(options, [*targets, *(item.target for item in devices)], workdir)
    replaces, beside = _others(options, name)
    return ServiceSpec(
        name=name,
        service=service,
        state=options["state"],
        rootfs=_rootfs(options.get("rootfs"), name),
        command=_command(options, name),
        environment=environment,
        default_path="PATH" not in options["environment"],
        secrets_allowed=secrets_allowed,
        env_files=parse_files(options.get("env_files") or (), name, _absolute),
        groups=parse_groups(options.get("groups") or (), name),
        umask=parse_umask(options.get("umask"), name),
        oom_score_adj=parse_oom_score_adj(options.get("oom_score_adj"), name),
        user=options["user"],
        workdir=workdir,
        timezone=parse_timezone(options.get("timezone"), name, (*binds, *volumes, *memory)),
        hostname=hostname,
        init=init_of(options.get("init"), dict(namespaces), name),
        namespaces=namespaces,
        slice=check_path_name(options["slice"], f"{name}: slice") if options.get("slice") else None,
        id_base=id_base,
        networks=networks,
        mounts=binds,
        volumes=volumes,
        tmpfs=memory,
        devices=devices,
        secrets=secrets,
        offered=offered,
        capabilities=parse_capabilities(options["capabilities"], name),
        seccomp=seccomp,
        masked_paths=parse_paths(options.get("masked_paths") or (), name, "masked_paths", _absolute, seen),
        readonly_paths=parse_paths(options.get("readonly_paths") or (), name, "readonly_paths", _absolute),
        apparmor_profile=parse_profile(options.get("apparmor_profile"), name),
        selinux_label=parse_label(options.get("selinux_label"), name),
        rlimits=parse_rlimits(options["rlimits"], name),
        sysctls=_sysctls(options["sysctls"], name),
        dns=_dns(options.get("dns"), name),
        extra_hosts=_extra_hosts(options["extra_hosts"], name),
        stop_signal=parse_signal(options["stop_signal"], name),
        reload_signal=reload_signal,
        reload_command=reload_command,
        after=parse_names(options, "after", name, service),
        requires=parse_names(options, "requires", name, service),
        stop_timeout=parse_stop_timeout(options["stop_timeout"], name),
        standard_output=options["standard_output"],
        restart=_restart(options.get("restart"), name),
        health=health,
        gate=_gate(options.get("gate"), name),
        drain=parse_drain(options, name, dict(namespaces).get("network", "private")),
        keep_running=parse_keep_running(options, name),
        replaces=replaces,
        beside=beside,
        held=options.get("held"),
        runtime=options.get("runtime"),
        strict=options["runtime_policy"] == "strict",
    )
