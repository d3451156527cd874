# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OCI bundle of a service: config.json by the OCI runtime specification, and the files beside it. Pure."""

from __future__ import annotations

import ipaddress
import json
import typing as t
from dataclasses import dataclass, field

from .. import _idrange
from .._bridge import ports
from .._host import secrets
from .._host.devices import Device
from .._host.volumes import mount_point
from .._siblings import Sibling, hosts_text
from . import devices, labels, namespaces, paths, seccomp, timezone
from .mounts import PRIVATE, RECEIVING
from .secret_options import FOLDER
from .spec import ServiceSpec

OCI_VERSION = "1.0.2"
DEV = "/dev"
INIT = DEV + "/init"
"""Where the init appears in the service: on the tmpfs of /dev, so that nothing in the root filesystem is needed for it."""

NETWORK_FILE = "network"
CONFIG_FILE = "config.json"

DEFAULT_PIDS = 1024
"""What a service without a slice of its own may have at once."""


@dataclass(frozen=True)
class Attachment:
    """A network with its addresses. `gateways` are the bridge's own addresses by family.

    `guarded` tells whether the bridge is ours, so that its table knows what the link may send. On a bridge with `l2` the
    addresses have the subnets' lengths inside, so that siblings are on the link. `routed` are the families of which the
    address is the gateway of a route of the bridge. `subnets` are the bridge's. `default` tells whether the default route may
    lead over it. `routes` are further networks, each with its router.
    """

    bridge: str
    link: str
    mac: str
    ipv4: str | None = None
    ipv6: str | None = None
    gateway4: str | None = None
    gateway6: str | None = None
    guarded: bool = False
    l2: bool = False
    length4: int = 32
    length6: int = 128
    routed: tuple[int, ...] = ()
    subnets: tuple[str, ...] = ()
    mtu: int | None = None
    default: bool = True
    routes: tuple[tuple[str, str], ...] = ()

    def record(self) -> dict[str, t.Any]:
        """What is kept of it."""
        return {
            "bridge": self.bridge,
            "interface": self.link,
            "mac": self.mac,
            "ipv4": self.ipv4,
            "ipv6": self.ipv6,
        }


@dataclass(frozen=True)
class Facts:
    """What a bundle needs beside what was asked for.

    `init` is the host's init, None for none. `masked` are more paths to mask that this machine has. `profile` is the
    content of a seccomp profile where a path was given. `cgroup` is None where the supervisor makes the control group.
    `files` are sources of mounts that are no directories.
    `joined` is the instance whose namespaces are joined. `time` tells whether it can have a time namespace.
    `timezone` tells whether the root filesystem has a file for the name of its time zone.
    """

    directory: str
    root: str
    read_only: bool
    id_base: int
    uid: int
    gid: int
    machine: str
    hook: str
    init: str | None = None
    attachments: tuple[Attachment, ...] = ()
    nameservers: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    profile: t.Mapping[str, t.Any] | None = None
    cgroup: str | None = None
    siblings: tuple[Sibling, ...] = ()
    groups: tuple[int, ...] = ()
    joined: str | None = None
    time: bool = False
    files: frozenset[str] = frozenset()
    devices: t.Mapping[str, Device] = field(default_factory=dict)
    timezone: bool = False


def resolv_conf(spec: ServiceSpec, nameservers: t.Iterable[str]) -> str:
    """The service's resolv.conf(5)."""
    lines = [f"nameserver {server}" for server in nameservers]
    if spec.dns.search:
        lines.append("search " + " ".join(spec.dns.search))
    if spec.dns.options:
        lines.append("options " + " ".join(spec.dns.options))
    return "".join(line + "\n" for line in lines)


def network_lines(attachments: t.Sequence[Attachment]) -> str:
    """What the hook reads: for each network its bridge, the host's end of the link, the name inside, the MAC address, and
    whether the port is apart from others.
    """
    return "".join(
        f"{item.bridge} {item.link} eth{index} {item.mac} {'l2' if item.l2 else 'apart'}\n"
        for index, item in enumerate(attachments)
    )


def network_batch(attachments: t.Sequence[Attachment]) -> str:
    """What is done inside the service's network namespace, by `ip -batch`: a /32 (/128) with an on-link gateway on each link, but for `l2`.

    The first network with a gateway of a family that may have it has the default route. The others have routes to their
    subnets, so that siblings there are reached by the address that they know.
    """
    lines = ["link set lo up"]
    routed: set[int] = set()
    for index, item in enumerate(attachments):
        link = f"eth{index}"
        if item.mtu:
            lines.append(f"link set {link} mtu {item.mtu}")
        if item.ipv4:
            lines.append(f"address add {item.ipv4}/{item.length4} dev {link}")
        if item.ipv6:
            lines.append(f"address add {item.ipv6}/{item.length6} dev {link} nodad")
        lines.append(f"link set {link} up")
        for family, address, gateway in ((4, item.ipv4, item.gateway4), (6, item.ipv6, item.gateway6)):
            if not address or not gateway:
                continue
            length = ipaddress.ip_address(gateway).max_prefixlen
            if not item.l2:
                lines.append(f"route add {gateway}/{length} dev {link}")
            if family not in routed and item.default:
                lines.append(f"route add default via {gateway} dev {link}")
                routed.add(family)
            elif not item.l2:
                nets = [net for net in item.subnets if (":" in net) == (family == 6)]
                lines += [f"route add {net} via {gateway} dev {link}" for net in nets]
        lines += [f"route add {to} via {via} dev {link} onlink" for to, via in item.routes]
    return "".join(line + "\n" for line in lines)


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, t.Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


_BARE = ("nosuid", "noexec", "nodev")


def _proc(spec: ServiceSpec) -> dict[str, t.Any]:
    """Only the user namespace that owns a pid namespace may mount its processes: the host's are shown by its own mount."""
    if spec.namespace("pid") == "host":
        return _mount("/proc", "bind", "/proc", "rbind", *_BARE)
    return _mount("/proc", "proc", "proc", *_BARE)


def _sys(spec: ServiceSpec) -> dict[str, t.Any]:
    """As with /proc: sysfs shows the links of a network namespace. Without rro, what lies below could be written to."""
    if spec.namespace("network") == "host":
        return _mount("/sys", "bind", "/sys", "rbind", *_BARE, "ro", "rro")
    return _mount("/sys", "sysfs", "sysfs", *_BARE, "ro")


def _mounts(spec: ServiceSpec, facts: Facts) -> list[dict[str, t.Any]]:
    """All mounts, in order. /dev is always a tmpfs of our own, whatever the root filesystem has there (T4)."""
    found = [
        _proc(spec),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=1M"),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
        ),
        _mount(f"{DEV}/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=64M"),
        # Only the user namespace that owns the queues may mount them.
        *([_mount("/dev/mqueue", "mqueue", "mqueue", *_BARE)] if spec.namespace("ipc") != "host" else []),
        _sys(spec),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]
    own = [(f"/etc/{name}", f"{facts.directory}/{name}") for name in ("resolv.conf", "hosts", "hostname")]
    own += timezone.mounts(spec, facts.directory, facts.timezone)
    found += [_mount(target, "bind", source, "bind", "ro", "nosuid", "noexec", "nodev") for target, source in own]
    if facts.init is not None:
        found.append(_mount(INIT, "bind", facts.init, "bind", "ro", "nosuid", "nodev"))
    found += devices.mounts(spec)
    asked: list[dict[str, t.Any]] = []
    for memory in spec.tmpfs:
        options = ("nosuid", "nodev", f"mode={memory.mode}", f"size={memory.size}")
        asked.append(_mount(memory.target, "tmpfs", "tmpfs", *options))
    volumes = [(mount_point(spec.name, volume.source), volume) for volume in spec.volumes]
    for source, bind in [*((bind.source, bind) for bind in spec.mounts), *volumes]:
        # The second form of each flag goes by mount_setattr(2): in a user namespace, crun 1.8 drops the first one of
        # mounts that can be written to.
        # It can't do that to a single file; nobody gains rights by one, as no_new_privs is set.
        flags = ["rbind" if bind.propagation == RECEIVING else "bind", "nosuid", "nodev", "rnosuid", "rnodev"]
        flags += ["ro", "rro"] if bind.read_only else []
        flags += [] if bind.executable else ["noexec", "rnoexec"]
        if source in facts.files:
            flags = [flag for flag in flags if flag not in ("rnosuid", "rnodev", "rro", "rnoexec")]
        # Without it, crun leaves it in the peer group of a shared mount of the host.
        asked.append(_mount(bind.target, "bind", source, *flags, bind.propagation))
    if spec.secrets:
        tight = ("bind", "ro", "rro", "nosuid", "rnosuid", "nodev", "rnodev", "noexec", "rnoexec")
        asked.append(_mount(FOLDER, "bind", secrets.folder(spec.name), *tight))
    # A mount below another one comes after it.
    return [_apart(item) for item in found + sorted(asked, key=lambda item: str(item["destination"]).count("/"))]


def _apart(mount: dict[str, t.Any]) -> dict[str, t.Any]:
    """A mount that is no peer of the host's, as crun makes it of one file where the host's root is shared, which systemd sees to."""
    told = {"private", "rprivate", "slave", "rslave", "shared", "rshared"} & set(mount["options"])
    for flag, private in (("bind", "private"), ("rbind", "rprivate")):
        if flag in mount["options"] and not told:
            return {**mount, "options": [*mount["options"], private]}
    return mount


def _process(spec: ServiceSpec, facts: Facts) -> dict[str, t.Any]:
    command = [*([INIT, "--"] if facts.init is not None else []), *spec.command]
    capabilities = list(spec.capabilities)
    sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
    process: dict[str, t.Any] = {
        "terminal": False,
        "user": {"uid": facts.uid, "gid": facts.gid},
        "args": command,
        "env": [f"{key}={value}" for key, value in spec.variables.items()],
        "cwd": spec.workdir,
        "capabilities": dict.fromkeys(sets, capabilities),
        "noNewPrivileges": True,
        **labels.process(spec),
    }
    if facts.groups:
        process["user"]["additionalGids"] = list(facts.groups)
    if spec.umask is not None:
        process["user"]["umask"] = spec.umask
    if spec.oom_score_adj is not None:
        process["oomScoreAdj"] = spec.oom_score_adj
    if spec.rlimits:
        process["rlimits"] = [{"type": name, "soft": soft, "hard": hard} for name, soft, hard in spec.rlimits]
    return process


def _sysctls(spec: ServiceSpec) -> dict[str, str]:
    """Without capabilities a service binds any port and sends pings, as all is its own network namespace."""
    found = {}
    if spec.namespace("network") == "private":
        found["net.ipv4.ip_unprivileged_port_start"] = "0"
        found["net.ipv4.ping_group_range"] = f"0 {_idrange.SIZE - 1}"
    found.update(spec.sysctls)
    return found


def _profile(spec: ServiceSpec, facts: Facts) -> t.Mapping[str, t.Any] | None:
    if spec.seccomp == "unconfined":
        return None
    return facts.profile if facts.profile is not None else seccomp.profile(facts.machine, spec.capabilities)


def _linux(spec: ServiceSpec, facts: Facts) -> dict[str, t.Any]:
    ids = [{"containerID": 0, "hostID": facts.id_base, "size": _idrange.SIZE}]
    found: dict[str, t.Any] = {
        "namespaces": namespaces.oci_namespaces(spec, facts.time),
        "maskedPaths": sorted({*paths.MASKED, *facts.masked, *spec.masked_paths}),
        "readonlyPaths": sorted({*paths.READ_ONLY, *spec.readonly_paths}),
        "sysctl": _sysctls(spec),
        # runc would cut the way by which mounts come, if the root were private.
        "rootfsPropagation": RECEIVING if any(item.propagation == RECEIVING for item in spec.mounts) else PRIVATE,
    }
    if spec.joins is None:
        found.update(uidMappings=ids, gidMappings=ids)
    profile = _profile(spec, facts)
    if profile is not None:
        found["seccomp"] = profile
    if facts.cgroup is not None:
        found["cgroupsPath"] = facts.cgroup
        none: list[dict[str, t.Any]] = [{"allow": False, "access": "rwm"}]
        found["resources"] = {"devices": none + devices.rules(spec, facts.devices)}
        if spec.slice is None:
            found["resources"]["pids"] = {"limit": DEFAULT_PIDS}
    return found


def config(spec: ServiceSpec, facts: Facts) -> dict[str, t.Any]:
    """The content of config.json."""
    found: dict[str, t.Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(spec, facts),
        "root": {"path": facts.root, "readonly": facts.read_only},
        "mounts": _mounts(spec, facts),
        "linux": _linux(spec, facts),
        "annotations": {"daemonless.isolation/service": spec.service},
    }
    if spec.namespace("uts") == "private":
        found["hostname"] = spec.hostname
    if facts.attachments:
        hook = {"path": facts.hook, "args": ["network", facts.directory], "timeout": 30}
        found["hooks"] = {"createRuntime": [hook]}
    return found


def files(spec: ServiceSpec, facts: Facts) -> dict[str, tuple[str, int]]:
    """The bundle: content and mode by path."""
    own = [address for item in facts.attachments[:1] for address in (item.ipv4, item.ipv6) if address]
    named = {
        CONFIG_FILE: (json.dumps(config(spec, facts), indent=1, sort_keys=True) + "\n", 0o600),
        "resolv.conf": (resolv_conf(spec, facts.nameservers), 0o644),
        "hosts": (hosts_text(spec.hostname, own, spec.extra_hosts, facts.siblings), 0o644),
        "hostname": (spec.hostname + "\n", 0o644),
    }
    if facts.attachments:
        named[NETWORK_FILE] = (network_lines(facts.attachments), 0o644)
        named[NETWORK_FILE + ".ip"] = (network_batch(facts.attachments), 0o644)
    if spec.timezone is not None and facts.timezone:
        named[timezone.NAME_FILE] = (spec.timezone + "\n", 0o644)
    if facts.joined is not None:
        named["joins"] = (namespaces.join_file(spec, facts.joined), 0o644)
    guarded = [item for item in facts.attachments if item.guarded]
    if guarded:
        guards = (
            ports.link_guard(item.link, item.bridge, item.mac, item.ipv4, item.ipv6, item.routed) for item in guarded
        )
        named[ports.GUARD_FILE] = (ports.guard_file(guards), 0o644)
    return {f"{facts.directory}/{name}": value for name, value in named.items()}
