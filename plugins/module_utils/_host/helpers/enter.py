# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into services: `enter exec NAME [--user UID[:GID]] [--workdir DIR] [--env KEY=VALUE]… [--] COMMAND…`, `enter list`, `enter await NAME SECONDS`,
`enter sources NAME`.

Managed by daemonless.isolation. Why it is there: what an OCI runtime executes in a service whose control group is made by
systemd stays in the caller's control group, out of the service's limits and device policy; and it gets the capabilities that the caller
asks for, not those of the service. This program goes into the service's control groups first, then has the runtime execute the command
with the rights that the service's own process has: user, capabilities, no_new_privs, limits and environment; the runtime adds its
system call filter and namespaces. Standard input, output and error and the exit status are the command's. NAME is an instance, or a
service of which one instance runs.

Exit statuses of its own: 125 if the command could not be executed at all, with the reason on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import typing as t

from .sources import loose_link

__all__ = ["EnterError", "main", "members", "process", "running", "select"]

RECORDS = "/etc/isolation/service"
INSTANCES = "/var/lib/isolation/instances"
PIDS = "/run/isolation/service"
LIBEXEC = "/usr/local/libexec/isolation"
REFUSED = 125
"""What docker-run(1) and podman-exec(1) exit with where the command itself was not to blame."""

_KEPT = (
    "args",
    "env",
    "cwd",
    "user",
    "capabilities",
    "noNewPrivileges",
    "rlimits",
    "apparmorProfile",
    "selinuxLabel",
    "oomScoreAdj",
)


class EnterError(Exception):
    """A service can't be entered; the message says why, and what to do."""


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None


def _records() -> dict[str, dict[str, t.Any]]:
    """The records of all instances, by name."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(RECORDS)):
            if name.endswith(".json"):
                with contextlib.suppress(ValueError):
                    found[name[:-5]] = json.loads(_read(os.path.join(RECORDS, name)) or "")
    return found


def _groups(pid: int | str) -> dict[str, str]:
    """The control groups of a process: path by the hierarchy's controllers (cgroups(7)); "" stands for version 2."""
    lines = (_read(f"/proc/{pid}/cgroup") or "").splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def running(name: str) -> int | None:
    """The first process of an instance; None if it does not run, or another process has the number by now."""
    text = (_read(os.path.join(PIDS, name + ".pid")) or "").strip()
    if not text.isdigit():
        return None
    status = dict(line.split(":\t", 1) for line in (_read(f"/proc/{text}/status") or "").splitlines() if ":\t" in line)
    state, numbers = status.get("State", "Z"), status.get("NSpid", "").split()
    own = (_read("/proc/self/status") or "").partition("NSpid:")[2].splitlines()[0].split()
    if state[0] in "ZX" or len(numbers) <= len(own) or numbers[-1] != "1":
        return None
    ours = any(
        path.rstrip("/").endswith((f"/{name}", f"isolation-{_escape(name)}.service")) for path in _groups(text).values()
    )
    return int(text) if ours else None


def _escape(name: str) -> str:
    """A name as a part of a unit's (systemd.unit(5)); names have letters, digits and dashes only."""
    return name.replace("-", "\\x2d")


def select(asked: str, services: t.Mapping[str, str], alive: t.Callable[[str], int | None]) -> tuple[str, int]:
    """The instance that a name stands for, and its first process. `services` is the service by instance.

    :raises EnterError: there is none, none that runs, or more than one.
    """
    if asked in services:
        names = [asked]
    else:
        names = [name for name, service in services.items() if service == asked]
    if not names:
        raise EnterError(f"there is no service {asked} on this host; enter list shows those that there are")
    found = [(name, pid) for name in names for pid in [alive(name)] if pid is not None]
    if not found:
        raise EnterError(
            f"service {asked} does not run: start it with daemonless.isolation.namespaced_service (state: started)"
        )
    if len(found) > 1:
        raise EnterError(
            f"service {asked} has {len(found)} instances that run, {', '.join(name for name, _pid in found)}: name one of them"
        )
    return found[0]


def _mounted() -> dict[str, tuple[str, str]]:
    """Where the hierarchies are mounted: root and mount point, by controllers as /proc/PID/cgroup has them, sorted; "" for version 2."""
    found: dict[str, tuple[str, str]] = {}
    for line in (_read("/proc/self/mountinfo") or "").splitlines():
        fields, _dash, rest = line.partition(" - ")
        kind, _source, options = rest.split()[:3]
        words = fields.split()
        if kind == "cgroup2":
            found.setdefault("", (words[3], words[4]))
        elif kind == "cgroup":
            ignored = ("rw", "ro", "xattr", "clone_children", "noprefix")
            names = [
                word for word in options.split(",") if word not in ignored and not word.startswith("release_agent=")
            ]
            found.setdefault(",".join(sorted(names)), (words[3], words[4]))
    return found


def members(groups: t.Mapping[str, str], mounted: t.Mapping[str, tuple[str, str]]) -> list[str]:
    """The files that a process joins the control groups of another one by, of those hierarchies that are mounted."""
    found = []
    for controllers, path in groups.items():
        place = mounted.get(",".join(sorted(controllers.split(","))))
        if place is None:
            continue
        root, point = place
        inside = path[len(root) :] if root != "/" and (path + "/").startswith(root + "/") else path
        found.append(os.path.join(point, inside.strip("/"), "cgroup.procs"))
    return found


def _join(name: str, pid: int) -> None:
    """Go into the control groups of a process.

    :raises EnterError: the kernel refused: nothing may run outside of the limits.
    """
    wanted = _groups(pid)
    for path in members(wanted, _mounted()):
        try:
            with open(path, "w", encoding="ascii") as stream:
                stream.write("0")
        except OSError as error:
            raise EnterError(
                f"service {name}: its control group can't be entered: {path}: {error.strerror}: nothing is executed outside of"
                " its limits; run this as root of the host"
            ) from error
    now = _groups("self")
    apart = [controllers for controllers, path in wanted.items() if now.get(controllers) != path]
    if apart and any(wanted[controllers] != "/" for controllers in apart):
        raise EnterError(f"service {name}: its control groups {apart} could not be entered; nothing was executed")


def process(config: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is executed (OCI runtime-spec, config.md, Process): the service's own process with another command, and what else is asked for."""
    own = {key: value for key, value in config["process"].items() if key in _KEPT}
    given = dict(item.partition("=")[::2] for item in asked["env"])
    variables = {**dict(item.partition("=")[::2] for item in own.get("env", [])), **given}
    own.update(args=list(asked["command"]), env=[f"{key}={value}" for key, value in variables.items()], terminal=False)
    if asked["workdir"] is not None:
        own["cwd"] = asked["workdir"]
    if asked["user"] is not None:
        uid, _colon, gid = asked["user"].partition(":")
        same = {key: value for key, value in own.get("user", {}).items() if key not in ("uid", "gid", "additionalGids")}
        own["user"] = {**same, "uid": int(uid), "gid": int(gid or uid)}
    return own


def _parse(words: list[str]) -> dict[str, t.Any]:
    asked: dict[str, t.Any] = {"name": "", "user": None, "workdir": None, "env": [], "command": []}
    rest = list(words)
    while rest and rest[0] != "--" and (rest[0].startswith("--") or not asked["name"]):
        word = rest.pop(0)
        if not word.startswith("--"):
            asked["name"] = word
            continue
        key, equals, value = word[2:].partition("=")
        if key not in ("user", "workdir", "env") or not (equals or rest):
            raise EnterError(f"{word}: no such option, or it lacks a value; options are --user, --workdir and --env")
        value = value if equals else rest.pop(0)
        if key == "env":
            asked["env"].append(value)
        else:
            asked[key] = value
    asked["command"] = rest[1:] if rest[:1] == ["--"] else rest
    _check(asked)
    return asked


def _check(asked: t.Mapping[str, t.Any]) -> None:
    if not asked["name"] or not asked["command"]:
        raise EnterError("usage: enter exec NAME [--user UID[:GID]] [--workdir DIR] [--env KEY=VALUE]… [--] COMMAND…")
    if asked["user"] is not None and not all(part.isdigit() for part in asked["user"].split(":", 1)):
        raise EnterError(f"--user {asked['user']}: must be numbers, as in 1000:1000")
    workdir = asked["workdir"]
    if workdir is not None and (
        not workdir.startswith("/") or workdir == "/proc" or workdir.startswith("/proc/") or ".." in workdir
    ):
        raise EnterError(f"--workdir {workdir}: must be an absolute path without '..', and not below /proc")
    wrong = [item for item in asked["env"] if item.partition("=")[0] == "" or "=" not in item]
    if wrong:
        raise EnterError(f"--env {wrong[0]}: must be KEY=VALUE")


def _execute(words: list[str]) -> t.NoReturn:
    asked = _parse(words)
    records = _records()
    services = {name: record["spec"].get("service", name) for name, record in records.items()}
    name, pid = select(asked["name"], services, running)
    text = _read(os.path.join(INSTANCES, name, "config.json"))
    if text is None:
        raise EnterError(f"service {name}: its bundle is gone: apply daemonless.isolation.namespaced_service again")
    wanted = json.dumps(process(json.loads(text), asked))
    runtime = records[name]["assigned"].get("runtime", "crun")
    program = os.path.join(LIBEXEC, "crun") if runtime == "crun" else runtime
    _join(name, pid)
    # In memory: it may have secrets in its environment. The runtime closes it before it executes the command.
    descriptor = os.memfd_create("process", 0)
    os.write(descriptor, wanted.encode())
    os.set_inheritable(descriptor, True)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 4096)
    os.chdir("/")
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    manager = ["--cgroup-manager=disabled"] if runtime == "crun" and os.path.isdir("/run/systemd/system") else []
    command = [program, *manager, "exec", "--process", f"/proc/self/fd/{descriptor}", name]
    try:
        os.execvp(program, command)  # noqa: S606 - a shell would be in the way
    except OSError as error:
        raise EnterError(
            f"service {name}: {program}: {error.strerror}: install the runtime that has started it"
        ) from error


def _list() -> None:
    """One JSON line: what a controller needs to find its way."""
    shown = []
    for name, record in _records().items():
        spec, assigned = record.get("spec", {}), record.get("assigned", {})
        shown.append(
            {
                "name": name,
                "service": spec.get("service", name),
                "project": record.get("project"),
                "pid": running(name),
                "addresses": [
                    {key: item.get(key) for key in ("bridge", "ipv4", "ipv6")} for item in assigned.get("networks", [])
                ],
                "user": assigned.get("user"),
                "rootfs": spec.get("rootfs"),
                "slice": spec.get("slice"),
            }
        )
    sys.stdout.write(json.dumps(shown) + "\n")


def _await(words: list[str]) -> int:
    """Wait until an instance of a service runs, or for that many seconds: for services that start after others."""
    if len(words) != 2 or not words[1].isdigit():
        raise EnterError("usage: enter await NAME SECONDS")
    name, deadline = words[0], time.monotonic() + int(words[1])
    while True:
        records = _records()
        names = [one for one, record in records.items() if name in (one, record.get("spec", {}).get("service"))]
        if any(running(one) for one in names):
            return 0
        if time.monotonic() >= deadline:
            raise EnterError(f"service {name} does not run, after {words[1]} s: another one starts after it")
        time.sleep(0.2)


def _sources(words: list[str]) -> int:
    """Before each start: what is mounted is what root has meant, although others may have changed a link since."""
    if len(words) != 1:
        raise EnterError("usage: enter sources NAME")
    spec = json.loads(_read(os.path.join(RECORDS, f"{words[0]}.json")) or "{}").get("spec", {})
    for source in [item["source"] for item in spec.get("mounts", []) if item.get("type", "bind") == "bind"]:
        link = loose_link(source)
        if link is not None:
            raise EnterError(
                f"service {words[0]}: mounts: source: {source} leads through the symbolic link {link[0]}, which others than root can"
                f" change, to {link[1]}: not started"
            )
    return 0


def main(argv: t.Sequence[str]) -> int:
    """Be the program."""
    try:
        if argv[:1] == ["exec"]:
            _execute(list(argv[1:]))
        if list(argv) == ["list"]:
            _list()
            return 0
        if argv[:1] == ["await"]:
            return _await(list(argv[1:]))
        if argv[:1] == ["sources"]:
            return _sources(list(argv[1:]))
        raise EnterError("usage: enter exec NAME [OPTION…] [--] COMMAND…, enter list")
    except EnterError as error:
        sys.stderr.write(f"enter: {error}\n")
    except PermissionError as error:
        sys.stderr.write(f"enter: {error.filename}: {error.strerror}: run it as root of the host\n")
    return REFUSED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
