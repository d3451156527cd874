# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of each option: it is told by its name, does what the documentation says of it, is seen inside, and is none the second time."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
import yaml
from services import COMMAND, PROBE, Host, make_bridge, supervise
from world import World

from ansible_collections.daemonless.isolation.plugins.modules import namespaced_service

Inside = t.Dict[str, t.Any]
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
BIND = {"type": "bind", "source": "/srv/one", "target": "/data"}
VOLUME = {"type": "volume", "source": "every", "target": "/volume"}
DEVICE = {"path": "/dev/full", "target": "/dev/card"}
SECRET = {"name": "password"}
HEALTH = {"http": {"port": 80}}


class Row(t.NamedTuple):
    """One option: its two values, how a line of the diff begins, and what is seen of it before and after."""

    first: dict[str, t.Any]
    second: dict[str, t.Any]
    line: str
    look: t.Callable[[Host, Inside], t.Any]
    seen: tuple[t.Any, t.Any]


def row(option: str, first: t.Any, second: t.Any, look: t.Callable[..., t.Any], *seen: t.Any, line: str = "") -> Row:
    """A row for an option; None as a value leaves it out."""
    values = [{} if value is None else {option: value} for value in (first, second)]
    inside = look if look.__code__.co_argcount == 2 else lambda _host, see: look(see)
    return Row(values[0], values[1], line or option, inside, (seen[0], seen[1]))


def mounted(target: str, *flags: str) -> t.Callable[[Inside], t.Any]:
    """Whether something is mounted at a place, with flags."""
    return lambda see: target in see["mounts"] and set(flags) <= set(see["mounts"][target].split(","))


def variable(name: str) -> t.Callable[[Inside], t.Any]:
    """A variable of the environment."""
    return lambda see: see["environment"].get(name)


def text(part: str, word: str) -> t.Callable[[Host, Inside], t.Any]:
    """Whether a word is in a file of the supervisor's."""
    return lambda host, _see: word in host.world.sh(f"cat /etc/isolation/runit/sv/web/{part}")


def kept(option: str, *path: t.Any) -> t.Callable[[Host, Inside], t.Any]:
    """What the record says."""

    def look(host: Host, _see: Inside) -> t.Any:
        found = json.loads(host.world.sh("cat /etc/isolation/service/web.json"))["spec"][option]
        for key in path:
            found = found[key]
        return found

    return look


def file(name: str, pattern: str) -> t.Callable[[Inside], t.Any]:
    """Whether a file inside has something."""
    return lambda see: re.search(pattern, see[name], re.MULTILINE) is not None


def link(see: Inside) -> t.Any:
    """The network interfaces."""
    return see["interfaces"]


def ip(command: str, *words: str) -> t.Callable[[Host, Inside], t.Any]:
    """Whether words are in what ip(8) tells of the service's network namespace."""

    def look(host: Host, _see: Inside) -> t.Any:
        pid = host.see("web")["pid"]
        told = host.world.sh(f"pid={pid}; nsenter --net=/proc/$pid/ns/net ip {command}")
        return all(word in told for word in words)

    return look


def entered(host: Host, *command: str) -> str:
    """What a command says that is executed in the service."""
    return host.world.run(["/usr/local/libexec/isolation/enter", "exec", "web", "--", *command]).stdout.strip()


def health(**given: t.Any) -> dict[str, t.Any]:
    """A health check with an option changed."""
    return {**HEALTH, **given}


ROWS: dict[str, Row] = {
    "held": row("held", None, True, lambda host, _see: host.see("web")["options"]["held"], False, True),
    "args": row("args", ["one"], ["one", "two"], lambda see: see["argv"], ["one"], ["one", "two"], line="command"),
    "args gone": row("args", ["one"], None, lambda see: see["argv"], ["one"], [], line="command"),
    "command": row(
        "command",
        COMMAND,
        ["/usr/bin/python3", "-B", "-O", "/srv/probe.py"],
        kept("command"),
        COMMAND,
        ["/usr/bin/python3", "-B", "-O", "/srv/probe.py"],
    ),
    "environment new": row("environment", None, {"A": "1"}, variable("A"), None, "1", line="environment A"),
    "environment other": row("environment", {"A": "1"}, {"A": "2"}, variable("A"), "1", "2", line="environment A"),
    "environment gone": row(
        "environment", {"A": "1", "B": "1"}, {"B": "1"}, variable("A"), "1", None, line="environment A"
    ),
    "environment PATH": row(
        "environment",
        None,
        {"PATH": "/usr/bin:/bin"},
        lambda see: variable("PATH")(see) == "/usr/bin:/bin",
        False,
        True,
        line="environment PATH",
    ),
    "environment number": row("environment", {"A": 1}, {"A": True}, variable("A"), "1", "true", line="environment A"),
    "env_files": row("env_files", None, ["/srv/one.env"], variable("FROM"), None, "one"),
    "env_files other": row(
        "env_files", ["/srv/two.env", "/srv/one.env"], ["/srv/one.env", "/srv/two.env"], variable("FROM"), "one", "two"
    ),
    "user": row("user", "0:0", "1000:1000", lambda see: (see["uid"], see["gid"]), (0, 0), (1000, 1000)),
    "user's group": row(
        "user", "1000:1000", "1000:1001", lambda see: (see["uid"], see["gid"]), (1000, 1000), (1000, 1001)
    ),
    "user's name": row("user", "0:0", "app", lambda see: see["uid"], 0, 1000),
    "groups": row("groups", None, ["7"], lambda see: see["groups"], [], [7]),
    "umask": row("umask", None, "0027", kept("umask"), None, "0027"),
    "oom_score_adj": row("oom_score_adj", None, 300, kept("oom_score_adj"), None, 300),
    "namespaces": row(
        "namespaces", None, {"uts": "host"}, lambda see: see["hostname"], "web", "world", line="namespaces uts"
    ),
    "workdir": row("workdir", None, "/srv", lambda see: see["cwd"], "/", "/srv"),
    "timezone": row(
        "timezone",
        None,
        "Europe/Vienna",
        lambda host, _see: [entered(host, "date", "-d", f"2026-0{month}-01 12:00Z", "+%Z %H") for month in (1, 7)],
        ["UTC 12", "UTC 12"],
        ["CET 13", "CEST 14"],
    ),
    "timezone other": row(
        "timezone", "Asia/Tokyo", "Asia/Kolkata", lambda host, _see: entered(host, "date", "+%Z"), "JST", "IST"
    ),
    "hostname": row("hostname", None, "inner", lambda see: see["hostname"], "web", "inner"),
    "hostname's file": row(
        "hostname", "one", "two.example", file("hosts", r" two\.example$"), False, True, line="hostname"
    ),
    "init": row("init", None, False, lambda see: see["processes"]["1"].startswith("/dev/init"), True, False),
    "slice": row("slice", None, "every", lambda host, _see: host.see("web")["slice"], None, "every"),
    "slice other": row(
        "slice",
        "every",
        "other",
        lambda host, _see: "/isolation/other/" in host.see("web")["cgroup"],
        False,
        True,
        line="slice",
    ),
    "address": row(
        "networks",
        [{"bridge": "iso0", "address": ["10.88.0.50"]}],
        [{"bridge": "iso0", "address": ["10.88.0.51"]}],
        lambda host, _see: host.see("web")["addresses"][0]["ipv4"],
        "10.88.0.50",
        "10.88.0.51",
        line="networks",
    ),
    "address of version 6": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0", "address": ["fd88::77"]}],
        lambda host, _see: host.see("web")["addresses"][0]["ipv6"] == "fd88::77",
        False,
        True,
        line="networks",
    ),
    "second network": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0"}, {"bridge": "iso1"}],
        link,
        ["eth0", "lo"],
        ["eth0", "eth1", "lo"],
        line="networks",
    ),
    "aliases": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0", "aliases": ["shop"]}],
        kept("networks", 0),
        {"bridge": "iso0", "address": ["auto"]},
        {"bridge": "iso0", "address": ["auto"], "aliases": ["shop"]},
        line="networks",
    ),
    "mac": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0", "mac": "02:00:00:00:00:77"}],
        ip("link show eth0", "02:00:00:00:00:77"),
        False,
        True,
        line="networks",
    ),
    "mtu": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0", "mtu": 1400}],
        ip("link show eth0", "mtu 1400"),
        False,
        True,
        line="networks",
    ),
    "default_route": row(
        "networks",
        [{"bridge": "iso0"}, {"bridge": "iso1"}],
        [{"bridge": "iso0", "default_route": False}, {"bridge": "iso1"}],
        ip("route show default", "via 10.89.0.1 dev eth1"),
        False,
        True,
        line="networks",
    ),
    "routes": row(
        "networks",
        [{"bridge": "iso0"}],
        [{"bridge": "iso0", "routes": [{"to": "192.0.2.0/24"}, {"to": "2001:db8:7::/48", "via": "fd88::99"}]}],
        ip(
            "route show 192.0.2.0/24; nsenter --net=/proc/$pid/ns/net ip -6 route show 2001:db8:7::/48",
            "10.88.0.1",
            "fd88::99",
        ),
        False,
        True,
        line="networks",
    ),
    "order of networks": row(
        "networks",
        [{"bridge": "iso0"}, {"bridge": "iso1"}],
        [{"bridge": "iso1"}, {"bridge": "iso0"}],
        lambda host, _see: [item["bridge"] for item in host.see("web")["addresses"]],
        ["iso0", "iso1"],
        ["iso1", "iso0"],
        line="networks",
    ),
    "mounts new": row("mounts", None, [BIND], mounted("/data"), False, True),
    "mounts gone": row("mounts", [BIND], [], mounted("/data"), True, False),
    "mounts read_only": row("mounts", [BIND], [{**BIND, "read_only": True}], mounted("/data", "ro"), False, True),
    "mounts exec": row("mounts", [BIND], [{**BIND, "exec": False}], mounted("/data", "noexec"), False, True),
    "mounts propagation": row(
        "mounts",
        [{**BIND, "source": "/media/one"}],
        [{**BIND, "source": "/media/one", "propagation": "rslave"}],
        lambda host, _see: (
            "master:" in host.world.sh("grep ' /data ' /proc/$(cat /run/isolation/service/web.pid)/mountinfo")
        ),
        False,
        True,
    ),
    "mounts target": row("mounts", [BIND], [{**BIND, "target": "/other"}], mounted("/other"), False, True),
    "mounts source": row(
        "mounts",
        [BIND],
        [{**BIND, "source": "/srv/two"}],
        lambda host, _see: (
            host.world.sh("grep -c '/two /data ' /proc/$(cat /run/isolation/service/web.pid)/mountinfo || true").strip()
            != "0"
        ),
        False,
        True,
    ),
    "volume new": row("mounts", None, [VOLUME], mounted("/volume"), False, True, line="mounts"),
    "volume read_only": row(
        "mounts", [VOLUME], [{**VOLUME, "read_only": True}], mounted("/volume", "ro"), False, True, line="mounts"
    ),
    "volume target": row("mounts", [VOLUME], [{**VOLUME, "target": "/v"}], mounted("/v"), False, True, line="mounts"),
    "volume for a bind": row(
        "mounts", [{**BIND, "target": "/v"}], [{**VOLUME, "target": "/v"}], mounted("/v"), True, True, line="mounts"
    ),
    "tmpfs new": row("tmpfs", None, [{"target": "/scratch"}], mounted("/scratch", "nosuid", "nodev"), False, True),
    "tmpfs size": row(
        "tmpfs",
        [{"target": "/scratch"}],
        [{"target": "/scratch", "size": "1M"}],
        kept("tmpfs"),
        [{"target": "/scratch", "size": "64M", "mode": "1777"}],
        [{"target": "/scratch", "size": "1M", "mode": "1777"}],
    ),
    "tmpfs mode": row(
        "tmpfs",
        [{"target": "/scratch"}],
        [{"target": "/scratch", "mode": "0700"}],
        lambda host, _see: host.world.sh("stat -c %a /proc/$(cat /run/isolation/service/web.pid)/root/scratch").strip(),
        "1777",
        "700",
    ),
    "devices": row("devices", None, [DEVICE], mounted("/dev/card"), False, True),
    "devices permissions": row(
        "devices",
        [DEVICE],
        [{**DEVICE, "permissions": "r"}],
        kept("devices", 0, "permissions"),
        "rw",
        "r",
        line="devices",
    ),
    "capabilities": row(
        "capabilities", None, ["NET_RAW"], lambda see: int(see["capabilities"]["CapEff"], 16) == 1 << 13, False, True
    ),
    "capabilities other": row(
        "capabilities",
        ["NET_RAW"],
        ["CAP_CHOWN"],
        lambda see: int(see["capabilities"]["CapBnd"], 16),
        1 << 13,
        1 << 0,
        line="capabilities",
    ),
    "seccomp off": row("seccomp", None, "unconfined", lambda see: see["seccomp"], "2", "0"),
    "seccomp of one's own": row(
        "seccomp",
        None,
        "/srv/profile.json",
        lambda see: (see["calls"]["keyctl"], see["seccomp"]),
        ("EPERM", "2"),
        ("EINVAL", "2"),
        line="seccomp",
    ),
    "masked_paths": row(
        "masked_paths",
        None,
        ["/etc/passwd"],
        lambda host, _see: entered(host, "cat", "/etc/passwd"),
        "app:x:1000:1000::/:/bin/sh",
        "",
    ),
    "readonly_paths": row("readonly_paths", ["/srv"], ["/srv", "/usr"], mounted("/usr", "ro"), False, True),
    "rlimits": row(
        "rlimits",
        None,
        {"NOFILE": "100:200"},
        lambda see: see["limits"] == [100, 200],
        False,
        True,
        line="rlimits RLIMIT_NOFILE",
    ),
    "rlimits other": row(
        "rlimits",
        {"NOFILE": 300},
        {"RLIMIT_NOFILE": "200:300"},
        lambda see: see["limits"],
        [300, 300],
        [200, 300],
        line="rlimits RLIMIT_NOFILE",
    ),
    "sysctls of messages": row(
        "sysctls",
        None,
        {"kernel.msgmax": 4096},
        lambda see: see["msgmax"] == "4096",
        False,
        True,
        line="sysctls kernel.msgmax",
    ),
    "sysctls of the network": row(
        "sysctls",
        {"net.ipv6.conf.all.forwarding": 0},
        {"net.ipv6.conf.all.forwarding": 1},
        lambda host, _see: host.world.sh(
            "nsenter -t $(cat /run/isolation/service/web.pid) -n cat /proc/sys/net/ipv6/conf/all/forwarding"
        ).strip(),
        "0",
        "1",
        line="sysctls net.ipv6.conf.all.forwarding",
    ),
    "dns nameservers": row(
        "dns", None, {"nameservers": ["192.0.2.53"]}, file("resolv_conf", "^nameserver 192.0.2.53$"), False, True
    ),
    "dns search": row(
        "dns", None, {"search": ["example.org"]}, file("resolv_conf", "^search example.org$"), False, True
    ),
    "dns options": row(
        "dns", {"options": ["ndots:1"]}, {"options": ["ndots:2"]}, file("resolv_conf", "^options ndots:2$"), False, True
    ),
    "extra_hosts": row(
        "extra_hosts", None, {"db": "192.0.2.7"}, file("hosts", "^192.0.2.7 db$"), False, True, line="extra_hosts db"
    ),
    "extra_hosts other": row(
        "extra_hosts",
        {"db": "192.0.2.7"},
        {"db": "192.0.2.8"},
        file("hosts", "^192.0.2.8 db$"),
        False,
        True,
        line="extra_hosts db",
    ),
    "stop_signal": row("stop_signal", None, "SIGINT", kept("stop_signal"), "SIGTERM", "SIGINT"),
    "stop_timeout": row("stop_timeout", None, "3s", kept("stop_timeout"), 10.0, 3.0),
    "standard_output": row("standard_output", None, "pipe", kept("standard_output"), "direct", "pipe"),
    "restart policy": row(
        "restart", None, {"policy": "no"}, text("finish", "printf d >supervise/control"), False, True
    ),
    "restart delay": row(
        "restart", {"delay": "100ms"}, {"delay": "150ms"}, text("finish", "end web 150 60000"), False, True
    ),
    "restart max_delay": row(
        "restart", {"max_delay": "1m"}, {"max_delay": "2m"}, text("finish", " 120000"), False, True
    ),
    "health kind": row("health", HEALTH, {"tcp": {"port": 80}}, kept("health", "kind"), "http", "tcp"),
    "health exec": row(
        "health", HEALTH, {"exec": {"command": ["/bin/true"]}}, kept("health", "command"), [], ["/bin/true"]
    ),
    "health on_failure": row("health", HEALTH, health(on_failure="none"), kept("health", "on_failure"), None, "none"),
    "health start_period": row(
        "health",
        health(on_failure="none"),
        health(on_failure="none", start_period="5s"),
        kept("health", "start_period"),
        30.0,
        5.0,
    ),
    "health interval": row("health", HEALTH, health(interval="1s"), kept("health", "interval"), 0.5, 1.0),
    "health path": row(
        "health", HEALTH, {"http": {"port": 80, "path": "/inside"}}, kept("health", "path"), "/", "/inside"
    ),
    "health timeout": row("health", HEALTH, health(timeout="5s"), kept("health", "timeout"), 2.0, 5.0),
    "health retries": row("health", HEALTH, health(retries=7), kept("health", "retries"), 3, 7),
    "health gone": row("health", HEALTH, {}, lambda host, _see: kept("health")(host, {}) is None, False, True),
    "after": row("after", None, ["rested"], kept("after"), [], ["rested"]),
    "requires": row("requires", ["rested"], [], kept("requires"), ["rested"], []),
    "reload_signal": row("reload_signal", None, "HUP", kept("reload_signal"), None, "SIGHUP"),
    "reload_command": row(
        "reload_command", None, ["/bin/kill", "-HUP", "1"], text("control/*", "-- /bin/kill -HUP 1"), False, True
    ),
    "secrets": row("secrets", [], [SECRET], mounted("/run/secrets", "ro"), False, True),
    "secrets target": row(
        "secrets", [SECRET], [{**SECRET, "target": "other"}], kept("secrets", 0, "target"), "password", "other"
    ),
    "secrets on_change": row(
        "secrets", [SECRET], [{**SECRET, "on_change": "none"}], kept("secrets", 0, "on_change"), "restart", "none"
    ),
    "rootfs": row("rootfs", None, "web-other", lambda host, _see: host.see("web")["rootfs"], "web", "web-other"),
}

NO_CHANGE: dict[str, dict[str, t.Any]] = {
    "allow_secrets_in_environment": {"allow_secrets_in_environment": True},
    "gate": {"gate": {"min_healthy_time": "1ms", "deadline": "30s"}},
    "runtime_policy": {"runtime_policy": "warn"},
    "replaces": {"replaces": "web-0"},
    "state": {"state": "present"},
    "service": {"service": "web"},
    "order of variables": {"environment": {"B": "2", "A": "1"}},
}


def documented(option: str) -> str:
    """What the module's documentation says that a change does."""
    notes = yaml.safe_load(namespaced_service.DOCUMENTATION)["notes"]
    (said,) = [note for note in notes if note.startswith("A change restarts the service, but for changes of ")]
    return "live" if f"O({option})" in said else "restart"


@pytest.fixture(scope="module")
def shared(archive: t.Any) -> t.Iterator[Host]:
    """One host for all rows, with what they name."""
    with World() as world:
        make_bridge(world)
        host = Host(world, archive, supervise(world))
        files = [
            {"path": "/srv/probe.py", "content": PROBE},
            {"path": "/etc/passwd", "content": "app:x:1000:1000::/:/bin/sh\n"},
        ]
        for name in ("web", "web-other"):
            host.rootfs(name, service="web", files=files)
        world.sh("ip link add iso1 type bridge; ip address add 10.89.0.1/24 dev iso1; ip link set iso1 up")
        world.sh("mount -t tmpfs none /srv; mkdir /srv/one /srv/two")
        world.sh("mount -t tmpfs none /media; mount --make-shared /media; mkdir /media/one")
        world.sh("for name in one two; do echo FROM=$name >/srv/$name.env; done")
        world.run(["sh", "-c", "cat >/srv/profile.json"], stdin=json.dumps(PROFILE))
        world.apply("cgroup_slice", aggregate=[{"name": "every", "pids_max": 50}, {"name": "other", "pids_max": 50}])
        host.run("rested", health=None, networks=[])
        yield host


def options(host: Host, given: dict[str, t.Any]) -> dict[str, t.Any]:
    """The service with one option set; the value of its secret only if it has one."""
    base = {**host.options("web"), "health": HEALTH, "gate": {"min_healthy_time": "0s", "deadline": "30s"}, **given}
    if not base["health"]:
        del base["health"]
    if base.get("secrets"):
        base["secret_values"] = {"password": "correct horse battery"}
    return base


def look(host: Host, one: Row) -> t.Any:
    """What is seen of the option."""
    return one.look(host, host.inside(host.see("web")))


@pytest.mark.parametrize("one", ROWS.values(), ids=ROWS)
def test_a_change(shared: Host, one: Row) -> None:
    world = shared.world
    first = world.apply("namespaced_service", **options(shared, one.first))["service"]
    if not one.second and "health" in one.first:
        world.wait(lambda: shared.ask(first), 20, "an answer")
    assert look(shared, one) == one.seen[0]

    wanted = options(shared, {**one.second, **({"health": {}} if one.line == "health" and not one.second else {})})
    checked = world.module("namespaced_service", check=True, **wanted)
    changed = world.apply("namespaced_service", **wanted)
    assert checked["changed"]
    assert checked["diff"] == changed["diff"]
    after, before = (changed["diff"][0][side].splitlines() for side in ("after", "before"))
    assert any(line.startswith(one.line) for line in (*before, *after)), (before, after)
    effect = documented(next(iter({**one.first, **one.second})))
    if "aliases" in str(one.second):
        effect = "live"  # told by the suboption's own documentation
    if "on_change" in str(one.second):
        effect = "live"  # told by the option's own documentation
    assert after[-1] == f"effect: {effect}"
    assert (changed["service"]["pid"] == first["pid"]) == (effect == "live")

    assert not world.apply("namespaced_service", **wanted)["changed"]
    assert not world.module("namespaced_service", check=True, **wanted)["changed"]
    world.wait(lambda: shared.ask(changed["service"]), 20, "an answer")
    assert look(shared, one) == one.seen[1]


@pytest.mark.parametrize("given", NO_CHANGE.values(), ids=NO_CHANGE)
def test_no_change(shared: Host, given: dict[str, t.Any]) -> None:
    environment = {"environment": {"A": "1", "B": "2"}} if "environment" in given else {}
    first = shared.world.apply("namespaced_service", **options(shared, environment))["service"]
    again = shared.world.apply("namespaced_service", **options(shared, {**environment, **given}))
    assert not again["changed"], again["diff"]
    assert again["service"]["pid"] == first["pid"]


def test_every_option_has_a_row() -> None:
    """Options that are about what is done, not about what a service is, have none."""
    tried = {key for one in ROWS.values() for key in (*one.first, *one.second)}
    tried |= {key for given in NO_CHANGE.values() for key in given}
    elsewhere = {"name", "id_base", "runtime", "purge_volumes", "expect", "secret_values", "drain", "keep_running"}
    elsewhere |= {"beside"}  # playbooks/test_rollout*.py: it takes another instance
    elsewhere |= {"apparmor_profile", "selinux_label"}  # test_labels.py: what a host has without them is a refusal
    every = set(yaml.safe_load(namespaced_service.DOCUMENTATION)["options"])
    assert every - tried - elsewhere == set()
