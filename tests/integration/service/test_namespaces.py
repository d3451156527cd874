# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Namespaces of services: their own, the host's, and those of another service."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import Host, processes
from world import difference

Options = t.Dict[str, t.Any]

JOINED = dict.fromkeys(("user", "network", "pid", "ipc", "uts", "cgroup", "time"), "service:web")
TELL = """
import json, os, socket, time, urllib.request
found = {
    "namespaces": {kind: os.readlink("/proc/self/ns/" + kind) for kind in os.listdir("/proc/self/ns")},
    "hostname": socket.gethostname(), "pid": os.getpid(), "links": sorted(os.listdir("/sys/class/net")),
    "processes": [open(f"/proc/{pid}/cmdline").read().replace(chr(0), " ").strip() for pid in os.listdir("/proc") if pid.isdigit()],
    "mounts": {line.split()[4]: line.split()[5] for line in open("/proc/self/mountinfo")},
    "writes": [],
}
for path in ("/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/sys/kernel/uevent_helper", "/proc/1/oom_score_adj"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        found["writes"].append(path)
    except OSError:
        pass
try:
    found["answer"] = urllib.request.urlopen("http://127.0.0.1/", timeout=3).read().decode()
except OSError as error:
    found["answer"] = str(error)
print(json.dumps(found), flush=True)
time.sleep(600)
"""


def beside(name: str = "side", **options: t.Any) -> Options:
    """A service that tells what it sees, and answers nobody."""
    return {
        "name": name, "rootfs": name, "command": ["/usr/bin/python3", "-B", "-c", TELL], "restart": {"delay": "50ms"},
        "gate": {"min_healthy_time": "200ms", "deadline": "20s"}, **options,
    }  # fmt: skip


def told(host: Host, name: str = "side") -> Options:
    """What it has told since its last start."""
    line = host.world.wait(lambda: [line for line in host.log(name).splitlines() if "{" in line], 10, "it tells")[-1]
    return json.loads(line[line.index("{") :])  # type: ignore[no-any-return]


def numbers(service: Options) -> dict[str, int]:
    return dict(service["namespaces"])


def test_a_service_joins_another(host: Host) -> None:
    """It sees the other's processes, network and name, is ended with it, and comes back with it."""
    world = host.world
    web = host.run("web", hostname="inner")
    host.rootfs("side", service="web")
    before = world.snapshot()
    side = world.cycle("namespaced_service", **beside(namespaces=JOINED))["service"]
    assert (side["id_base"], side["addresses"]) == (web["id_base"], [])
    same = {kind for kind, number in numbers(side).items() if number == numbers(web)[kind]}
    assert same == {"pid", "net", "uts", "ipc", "cgroup", "user", "time"}, "and a mount namespace of its own"
    seen = told(host)
    assert (seen["hostname"], seen["links"], seen["answer"]) == ("inner", ["eth0", "lo"], "hello world")
    assert seen["pid"] != 1
    assert any("/srv/probe.py" in line for line in seen["processes"])
    assert not any("runsv" in line for line in seen["processes"])
    assert set(seen["writes"]) <= {"/proc/1/oom_score_adj"}, "of a process of the user that they share"

    world.run(["kill", "-9", str(web["pid"])])
    world.wait(lambda: host.ask(web) == "hello world", 5, "the joined one is back")
    world.wait(lambda: host.see("side")["pid"] not in (None, side["pid"]), 15, "the other too")
    again, other = host.see("side"), host.see("web")
    assert {kind for kind, number in numbers(again).items() if number == numbers(other)[kind]} == same
    assert again["pid"] != side["pid"]

    world.apply("namespaced_service", **host.options("web", hostname="inner", state="stopped"))
    world.wait(lambda: host.see("side")["pid"] is None, 5, "it has ended with the other one")
    assert len(processes(world, "time.sleep(600)")) == 0
    world.apply("namespaced_service", **host.options("web", hostname="inner"))
    world.wait(lambda: host.see("side")["state"] == "started", 10, "it waited for the other one")

    assert "side has joined its namespaces" in world.refused("namespaced_service", name="web", state="absent")
    world.cycle("namespaced_service", name="side", state="absent")
    world.wait(lambda: not processes(world, "time.sleep(600)"), 5, "nothing is left")
    assert world.sh("find /run/isolation/join /run/isolation/joined 2>/dev/null || true") == ""
    left = difference(before, world.snapshot())
    assert not {"mounts", "cgroups", "netns", "sysctls"} & set(left), left
    files = [line for lines in left.get("files", {}).values() for line in lines if "/instances/side/" in line]
    # What Python compiled at its first run belongs to the root filesystem.
    assert not [line for line in files if "__pycache__" not in line]


def test_one_task_makes_both_and_a_service_s_name_means_its_instance(host: Host) -> None:
    world = host.world
    host.rootfs("web-1", service="web")
    host.rootfs("side", service="web")
    first = host.options("web-1", service="web")
    second = beside(namespaces={"user": "service:web", "network": "service:web"}, health={"tcp": {"port": 80}})
    both = world.cycle("namespaced_service", aggregate=[first, second])
    web, side = (entry["service"] for entry in both["results"])
    assert numbers(side)["net"] == numbers(web)["net"]
    assert numbers(side)["pid"] != numbers(web)["pid"]
    assert "joins: web-1" in both["diff"][1]["after"]

    host.rootfs("web-2", service="web")
    new = world.cycle("namespaced_service", aggregate=[host.options("web-2", service="web", replaces="web-1"), second])
    assert "joins: web-2" in new["diff"][1]["after"]
    web, side = (entry["service"] for entry in new["results"])
    assert numbers(host.see("side"))["net"] == numbers(host.see("web-2"))["net"]


def test_what_is_the_host_s(host: Host) -> None:
    """It sees more, and can change no more than one without."""
    world = host.world
    host.rootfs("side")
    kinds = ("network", "uts", "ipc", "cgroup", "time")
    side = world.cycle("namespaced_service", **beside(namespaces=dict.fromkeys(kinds, "host")))["service"]
    own = dict(line.split() for line in world.sh("for kind in pid net uts ipc cgroup user mnt; do"
               " echo $kind $(readlink /proc/1/ns/$kind | tr -dc 0-9); done").splitlines())  # fmt: skip
    assert {kind for kind, number in own.items() if numbers(side)[kind] == int(number)} == {
        "net", "uts", "ipc", "cgroup",
    }  # fmt: skip
    seen = told(host)
    assert {"iso0", "lan0"} <= set(seen["links"])
    assert seen["hostname"] == "world"
    assert set(seen["writes"]) <= {"/proc/1/oom_score_adj"}, "its own"
    for path, flags in seen["mounts"].items():
        if path.startswith("/sys") and path.count("/") < 3:
            assert "ro" in flags.split(","), f"{path} {flags}"
    world.run(["kill", "-9", str(side["pid"])])
    world.wait(lambda: host.see("side")["pid"] not in (None, side["pid"]), 5, "it is back")
    stopped = world.cycle("namespaced_service", **beside(namespaces=dict.fromkeys(kinds, "host"), state="stopped"))
    assert stopped["service"]["pid"] is None
    assert not processes(world, "time.sleep(600)")


def test_children_end_with_a_service_that_has_no_pid_namespace_of_its_own(host: Host) -> None:
    world = host.world
    host.run("web")
    host.rootfs("side", service="web")
    fork = "import subprocess, time; subprocess.Popen(['/usr/bin/python3', '-c', 'import time; time.sleep(601)']); time.sleep(600)"
    joined = {"user": "service:web", "pid": "service:web"}
    wanted = beside(namespaces=joined, command=["/usr/bin/python3", "-B", "-c", fork])
    side = world.apply("namespaced_service", **wanted)["service"]
    child = "-c import time; time.sleep(601)"
    world.wait(lambda: len(processes(world, child)) == 1, 5, "it has a child")
    world.run(["kill", "-9", str(side["pid"])])
    world.wait(lambda: host.see("side")["pid"] not in (None, side["pid"]), 5, "it is back")
    world.wait(lambda: len(processes(world, child)) == 1, 5, "with one child, not two")
    world.apply("namespaced_service", **{**wanted, "state": "stopped"})
    world.wait(lambda: not processes(world, "time.sleep(60"), 5, "all of it has ended")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"namespaces": {"user": "host"}}, "side: namespaces: user: host is refused: root inside would be root of the host"),
        ({"namespaces": {"user": "service:side"}}, "side: namespaces: user: a service can't join itself"),
        ({"namespaces": {"network": "service:web"}}, "side: namespaces: network: service:web: a namespace is of use only in"),
        ({"namespaces": {"user": "service:none"}}, "service side: namespaces: service:none: this host has none of that name"),
        ({"namespaces": {"pid": "host"}}, "service side: namespaces: pid: host: without systemd nothing ends processes"),
        ({"namespaces": {"user": "service:web"}, "id_base": 1 << 21}, "service side: id_base: 2097152 is not that of web"),
        ({"namespaces": {"network": "bridge"}}, "side: namespaces: network: 'bridge' is none of private, host and service:"),
        ({"namespaces": {"network": "host"}, "networks": [{"bridge": "iso0"}]}, "side: networks belongs to the network"),
        ({"namespaces": {"network": "host"}, "sysctls": {"net.ipv4.ip_forward": 1}}, "side: sysctls: net.ipv4.ip_forward belongs"),
        ({"namespaces": {"ipc": "host"}, "sysctls": {"kernel.msgmax": 1}}, "side: sysctls: kernel.msgmax belongs to the ipc"),
        ({"namespaces": {"uts": "host"}, "hostname": "x"}, "side: hostname belongs to the uts namespace"),
        ({"namespaces": {"user": "service:web", "pid": "service:web", "time": "private"}}, "side: namespaces: time: private"),
        ({"namespaces": {"pid": "host"}, "init": True}, "side: init: an init must be process 1"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_can_not_be_is_refused_before_any_change(host: Host, options: Options, message: str) -> None:
    host.rootfs("web")
    host.rootfs("side")
    if "web" in str(options):
        host.run("web")
    told = host.world.refused("namespaced_service", **beside(**options))
    assert told.startswith(("service: " if message.startswith("side") else "") + message), told


def test_circles_and_what_does_not_run(host: Host) -> None:
    world = host.world
    for name in ("web", "side"):
        host.rootfs(name, service="web")
    user = {"user": "service:web"}
    circle = [beside("web", namespaces={"user": "service:side"}), beside("side", namespaces=user)]
    assert "web → side → web: services that join each other in a circle" in world.refused(
        "namespaced_service", aggregate=circle
    )
    late = [beside("side", namespaces=user), host.options("web")]
    assert "it comes later in this task: name it before side" in world.refused("namespaced_service", aggregate=late)
    for state in ("started", "stopped"):
        world.apply("namespaced_service", **host.options("web", state=state))
    assert "service:web does not run" in world.refused("namespaced_service", **beside(namespaces=user))
