# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host tells of its services: to root, and to somebody who may not see everything."""

from __future__ import annotations

import json
import time
import typing as t

from services import Host
from world import REPOSITORY, World

NETWORK = {"name": "iso5", "addresses": ["10.77.0.1/24", "fd77::1/64"]}


def _busy_host(host: Host) -> dict[str, t.Any]:
    """A host with one of everything; returns the result of the service."""
    world = host.world
    world.apply("bridge", **NETWORK)
    world.apply("cgroup_slice", name="web/1", memory_max="256M", pids_max=64)
    service = host.run(
        "web-1", service="web", slice="web/1", networks=[{"bridge": "iso5"}], user="1000:1001", capabilities=["net_raw"],
        environment={"GREETING": "the-secret-value", "PORT": "80"}, stop_signal="SIGINT", rlimits={"nofile": "100:200"},
        mounts=[{"type": "volume", "source": "web-data", "target": "/data"}], tmpfs=[{"target": "/cache", "size": "1M"}],
    )  # fmt: skip
    address = service["addresses"][0]["ipv4"]
    world.apply("nat_portmap", name="web", mappings=[{"host_port": 8080, "address": address, "port": 80}])
    return service


def test_all_of_a_service(host: Host) -> None:
    world = host.world
    begin = time.time()
    service = _busy_host(host)
    for _request in range(20):
        assert host.ask(service) == "the-secret-value"
    world.sh("head -c 300000 /dev/zero >/var/lib/isolation/volumes/web-data/file")
    info = world.apply("host_info", volume_size=True)
    assert info["unseen"] == []
    assert "warnings" not in info
    assert "the-secret-value" not in json.dumps(info)
    (seen,) = info["services"]

    assert {key: seen[key] for key in ("name", "service", "release", "state", "pid", "id_base")} == {
        "name": "web-1", "service": "web", "release": "1", "state": "started", "pid": service["pid"],
        "id_base": service["id_base"],
    }  # fmt: skip
    base = service["id_base"]
    assert seen["ids"] == {"uid": 1000, "gid": 1001, "host_uid": base + 1000, "host_gid": base + 1001}
    status = world.sh(f"ps -o uid=,gid= --ppid {seen['pid']}").split()
    assert status == [str(base + 1000), str(base + 1001)]
    options = seen["options"]
    assert options["environment"] == ["GREETING", "PATH", "PORT"]
    assert (options["user"], options["hostname"], options["init"]) == ("1000:1001", "web", True)
    assert (options["seccomp"], options["stop_signal"], options["capabilities"]) == (
        "default",
        "SIGINT",
        ["CAP_NET_RAW"],
    )
    assert options["rlimits"] == {"RLIMIT_NOFILE": "100:200"}
    assert [mount["target"] for mount in options["mounts"]] == ["/data"]
    assert [memory["size"] for memory in options["tmpfs"]] == ["1M"]
    assert seen["namespaces"]["net"] == int(world.sh(f"readlink /proc/{seen['pid']}/ns/net").strip("net:[]\n"))
    assert seen["enabled"]
    assert "serving as" in world.sh(f"cat {seen['log']['path']}")
    moment = time.mktime(time.strptime(seen["started_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert begin - 5 < moment < time.time() + 5

    (link,) = seen["networks"]
    assert (link["name"], link["bridge"], link["mac"]) == ("eth0", "iso5", service["addresses"][0]["mac"])
    inside = world.sh(f"nsenter -t {seen['pid']} -n cat /proc/net/dev | grep eth0").split()
    assert link["traffic"]["rx_bytes"] > 5000
    assert abs(link["traffic"]["rx_bytes"] - int(inside[1])) < 1000
    assert abs(link["traffic"]["tx_bytes"] - int(inside[9])) < 1000
    (port,) = seen["published"]
    assert (port["portmap"], port["host_port"], port["port"], port["protocol"]) == ("web", 8080, 80, "tcp")

    usage = seen["usage"]
    assert 1 << 20 < usage["memory_current"] < 256 << 20
    assert usage["pids_current"] >= 2
    assert usage["cpu_usage_usec"] > 10000
    assert seen["peak"]["memory"] >= usage["memory_current"] // 2
    assert seen["oom_kills"] == 0

    (bridge,) = info["bridges"]
    assert (bridge["present"], bridge["up"]) == (True, True)
    guest = {key: link[key] for key in ("interface", "mac", "ipv4", "ipv6")}
    assert bridge["services"] == [{"service": "web-1", **guest, "attached": True}]
    (volume,) = info["volumes"]
    assert 300000 <= volume["size"] < 400000
    assert world.apply("host_info", gather_subset=["volumes"])["volumes"][0]["size"] is None

    world.apply("namespaced_service", name="web-1", state="absent")
    left = world.apply("host_info", gather_subset=["bridges", "services"])
    assert (left["services"], left["bridges"][0]["services"]) == ([], [])


def test_a_stopped_service_uses_nothing(host: Host) -> None:
    service = host.run("web")
    host.world.apply("namespaced_service", **host.options("web", state="stopped"))
    seen = host.see("web")
    assert [seen[key] for key in ("state", "pid", "usage", "started_at", "enabled")] == [
        "stopped",
        None,
        None,
        None,
        False,
    ]
    assert [link["traffic"] for link in seen["networks"]] == [None]
    assert seen["networks"][0]["ipv4"] == service["addresses"][0]["ipv4"]


def _as_nobody(world: World, **args: t.Any) -> dict[str, t.Any]:
    """Run host_info as Ansible would for a user without rights, from where such a user may read it."""
    packages, ours = "/run/packages", "/run/seen/ansible_collections/daemonless/isolation"
    world.sh(
        f"test -d {ours}/plugins || {{ mkdir -p {packages} {ours}; mount --bind {World._ansible_path()} {packages};"
        f" mount --bind {REPOSITORY} {ours}; }}"
    )
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]
    name = "ansible_collections.daemonless.isolation.plugins.modules.host_info"
    done = world.run(
        [*user, "env", f"PYTHONPATH=/run/seen:{packages}", "HOME=/", "/usr/bin/python3", "-B", "-m", name],
        stdin=json.dumps({"ANSIBLE_MODULE_ARGS": {**args, "_ansible_remote_tmp": "/tmp"}}), check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_what_nobody_may_see_is_named(host: Host) -> None:
    """No field lies: what is not known is null, and `unseen` says of what and why."""
    world = host.world
    _busy_host(host)
    root, seen = world.apply("host_info"), _as_nobody(world)
    assert not seen.get("failed"), seen
    assert "what is null is not known" in str(seen["warnings"])
    for subset in ("bridges", "slices", "rootfs", "services", "volumes", "portmaps"):
        (full,), (empty,) = root[subset], seen[subset]
        assert empty["name"] == full["name"]
        assert {key for key, value in empty.items() if value is not None} == {"name"}, subset
        assert {*empty} - {"unit"} == {*full} - {"unit"}, subset
        (reason,) = [
            entry["reason"] for entry in seen["unseen"] if (entry["subset"], entry["name"]) == (subset, full["name"])
        ]
        assert "Permission denied" in reason
        assert "become" in reason
    (reason,) = (audit := _as_nobody(world, gather_subset=["audit"]))["unseen"]
    assert (audit["audit"], reason["subset"], reason["name"]) == ([], "audit", None)
    assert "to root alone: run as root (become: true)" in reason["reason"]
    other = _as_nobody(world, gather_subset=["services"], project="another")
    assert [entry["name"] for entry in other["services"]] == ["web-1"], "whose it is can't be told"
