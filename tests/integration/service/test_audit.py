# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of running services: a tight one, and one loosened in every way that options allow."""

from __future__ import annotations

import json
import subprocess
import typing as t

from services import Host
from world import HOST4, World

from ansible_collections.daemonless.isolation.plugins.module_utils._capabilities import CAPABILITIES

Found = t.Dict[str, t.Dict[str, t.Any]]

LISTEN = """
import socket, time
server = socket.socket()
server.bind(("", 2222))
server.listen()
time.sleep(600)
"""

RULER = """
import os, socket
server = socket.socket(socket.AF_UNIX)
os.mkdir("/run/podman")
server.bind("/run/podman/podman.sock")
server.listen()
"""

ON_HOST = """
import json
from ansible_collections.daemonless.isolation.plugins.module_utils._audit.items import judge
from ansible_collections.daemonless.isolation.plugins.module_utils._audit.model import Subject
from ansible_collections.daemonless.isolation.plugins.module_utils._host import evidence
host = evidence.of_host()
print(json.dumps(judge(Subject(evidence.of_service(1, "/", [], host), host))))
"""


def audit(world: World, name: str) -> Found:
    """The items of one service, by number."""
    (entry,) = [one for one in world.apply("host_info", gather_subset=["audit"])["audit"] if one["name"] == name]
    assert sum(entry["counts"].values()) == len(entry["items"]) == 32
    for item in entry["items"]:
        assert (item["remedy"] is not None) == (item["result"] in ("fail", "warn")), item
        assert item["evidence"], item
    return {item["item"]: item for item in entry["items"]}


def results(found: Found, result: str) -> set[str]:
    return {number for number, item in found.items() if item["result"] == result}


def test_a_tight_service(host: Host) -> None:
    """All is well with it; what a slice has to limit is not without one."""
    world = host.world
    world.apply("cgroup_slice", name="tight", memory_max="256M", pids_max=64, cpu_weight=50)
    host.rootfs("fixed", service="web", mode="read_only")
    options = {
        "rootfs": "fixed",
        "user": "1000:1000",
        "mounts": [{"type": "volume", "source": "data", "target": "/tmp"}],
    }
    service = host.run("web", slice="tight", **options)
    mapping = {"host_address": HOST4, "host_port": 8080, "address": service["addresses"][0]["ipv4"], "port": 80}
    world.apply("nat_portmap", name="web", mappings=[mapping])
    found = audit(world, "web")
    assert results(found, "fail") | results(found, "warn") == set(), found
    assert {"5.1", "5.28"} <= results(found, "not_applicable") <= {"5.1", "5.2", "5.3", "5.28"}

    world.apply("namespaced_service", **host.options("web", slice=None, **options))
    found = audit(world, "web")
    assert results(found, "fail") == {"5.11", "5.12"}, found
    assert found["5.11"]["remedy"] == "cgroup_slice: memory_max; namespaced_service: slice"
    assert found["5.29"]["evidence"] == "/isolation/no.slice/web/pids.max is 1024"


def test_a_loose_service(host: Host) -> None:
    """Each thing that options can loosen is a failure, with what was read."""
    world = host.world
    world.run(["/usr/bin/python3", "-c", RULER])
    world.apply("cgroup_slice", name="loose", cpu_weight=100)
    world.sh("mknod -m 666 /run/card c 10 229")
    host.rootfs("side")
    names = world.sh("cat /proc/sys/kernel/cap_last_cap").strip()
    every = [name for number, name in enumerate(CAPABILITIES) if number <= int(names)]
    loose = {
        "name": "side", "rootfs": "side", "command": ["/usr/bin/python3", "-c", LISTEN], "slice": "loose",
        "namespaces": dict.fromkeys(("network", "uts", "ipc", "cgroup", "time"), "host"), "capabilities": every, "seccomp": "unconfined",
        "mounts": [{"source": "/etc", "target": "/mnt"}, {"source": "/run/podman", "target": "/opt"}],
        "devices": [{"path": "/run/card", "target": "/dev/card"}],
        "restart": {"policy": "always", "delay": "50ms", "max_delay": "100ms"}, "gate": {"min_healthy_time": "200ms"},
    }  # fmt: skip
    side = world.apply("namespaced_service", **loose)["service"]
    world.wait(lambda: "2222" in audit(world, "side")["5.9"]["evidence"], 10, "it listens")
    found = audit(world, "side")
    assert results(found, "fail") == {
        "5.4", "5.5", "5.6", "5.9", "5.10", "5.11", "5.12", "5.13", "5.14", "5.15", "5.17", "5.18", "5.21", "5.22", "5.25", "5.27",
        "5.29", "5.32",
    }, found  # fmt: skip
    assert "/etc on /mnt (rw)" in found["5.6"]["evidence"]
    assert "/sys on /sys (ro)" in found["5.6"]["evidence"]
    assert found["5.32"]["evidence"] == "mountinfo: /run/podman on /opt (rw)"
    assert found["5.18"]["evidence"] == "mountinfo: /run/card on /dev/card (rw)"
    assert f"net:[{side['namespaces']['net']}]" in found["5.10"]["evidence"]
    assert "0.0.0.0:2222" in found["5.14"]["evidence"]
    assert found["5.22"]["evidence"].startswith("Seccomp 0 (no filter): ")
    assert found["5.27"]["remedy"] == "namespaced_service: health"


def test_the_host_itself_is_no_service(host: Host) -> None:
    """What no option can loosen is told of a process that nothing confines: the host's first."""
    done = host.world.run(
        [
            "env",
            f"PYTHONPATH={host.world.collections}:{host.world._ansible_path()}",
            "/usr/bin/python3",
            "-B",
            "-c",
            ON_HOST,
        ]
    )
    found = {item["item"]: item for item in json.loads(done.stdout)}
    assert {"5.10", "5.16", "5.17", "5.21", "5.22", "5.25", "5.26", "5.31"} <= results(found, "fail"), found


def test_published_ports_and_who_is_inside(host: Host) -> None:
    world = host.world
    service = host.run("web", user="1000:1000", capabilities=["net_raw"])
    address = service["addresses"][0]["ipv4"]
    mappings = [
        {"host_port": 80, "address": address, "port": 80}, {"host_port": 8081, "address": address, "port": 81},
    ]  # fmt: skip
    world.apply("nat_portmap", name="web", mappings=mappings)
    found = audit(world, "web")
    assert (found["5.4"]["result"], found["5.8"]["result"], found["5.14"]["result"]) == ("warn", "fail", "fail")
    assert found["5.8"]["evidence"] == "*:80/tcp"
    assert (found["5.9"]["result"], found["5.9"]["evidence"]) == ("warn", "nothing listens behind *:8081/tcp")
    assert found["5.30"]["evidence"] == "its links are on iso0"

    group = next(line for line in world.sh(f"cat /proc/{service['pid']}/cgroup").splitlines() if "pids" in line)
    tree, path = "/sys/fs/cgroup/pids", group.split(":", 2)[2]
    script = f"echo $$ >{tree}{path}/cgroup.procs; echo $$; exec sleep 600"
    guest = world.popen(["sh", "-c", script], stdout=subprocess.PIPE)
    number = int(guest.stdout.readline())  # type: ignore[union-attr]
    world.wait(lambda: audit(world, "web")["5.23"]["result"] == "fail", 10, "somebody with more rights is seen")
    assert "sleep" in audit(world, "web")["5.23"]["evidence"]
    world.run(["kill", str(number)])
    guest.wait(10)


def test_a_joined_service_has_ports_of_its_own(host: Host) -> None:
    """The other one's sockets are not its own; what is published of the other one's address leads to its sockets, too."""
    world = host.world
    service = host.run("web")
    host.rootfs("side", service="web")
    joined = {"user": "service:web", "network": "service:web"}
    side = {"name": "side", "rootfs": "side", "command": ["/usr/bin/python3", "-c", LISTEN], "namespaces": joined}
    world.apply("namespaced_service", **side)
    world.wait(lambda: "2222" in audit(world, "side")["5.9"]["evidence"], 10, "it listens")
    told = "listens where neither a published port leads to nor its health is asked: 0.0.0.0:2222"
    assert (audit(world, "side")["5.9"]["result"], audit(world, "side")["5.9"]["evidence"]) == ("warn", told)
    assert "2222" not in audit(world, "web")["5.9"]["evidence"]
    mapping = {"host_port": 8022, "address": service["addresses"][0]["ipv4"], "port": 2222}
    world.apply("nat_portmap", name="web", mappings=[mapping])
    found = audit(world, "side")
    assert (found["5.9"]["result"], found["5.9"]["evidence"]) == ("pass", "listens on 0.0.0.0:2222")
    assert found["5.30"]["evidence"] == "its links are on iso0"


def test_it_is_only_told_when_asked_for(host: Host) -> None:
    world = host.world
    host.run("web")
    assert "audit" not in world.apply("host_info")
    assert [one["name"] for one in world.apply("host_info", gather_subset=["all", "audit"])["audit"]] == ["web"]
    assert world.apply("host_info", gather_subset=["audit"], project="another")["audit"] == []
    world.apply("namespaced_service", **host.options("web", state="stopped"))
    assert world.apply("host_info", gather_subset=["audit"])["audit"] == []
