# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job from end to end: deploy, look, attack, break, update, take back."""

from __future__ import annotations

import os
import signal
import typing as t

import pytest
from stage import Site
from world import HOST4, HOST6, difference


def test_from_nothing_to_a_service_and_back(site: Site) -> None:
    world = site.world
    clean = world.snapshot()

    rehearsal = site.play("deploy", "--check", "--diff").stdout
    for line in ("addresses: 10.88.0.1/24", "memory_max: 128M", "tcp 8080", "image: sha256", "command"):
        assert line in rehearsal, f"{line} is missing in the rehearsal"
    after = world.snapshot()
    assert difference(clean, after) == {}

    assert site.changed("deploy") > 0
    for url in ("http://127.0.0.1:8080/", f"http://{HOST4}:8080/", f"http://[{HOST6}]:8080/"):
        assert site.get(url) == "hello world", url
    for url in (f"http://{HOST4}:8080/", f"http://[{HOST6}]:8080/"):
        assert site.get(url, ns="client") == "hello world", url

    deployed = world.snapshot()
    assert site.changed("deploy") == 0
    assert site.changed("deploy", "--check", "--diff") == 0
    assert "no drift" in site.play("status").stdout
    assert difference(deployed, world.snapshot()) == {}

    site.changed("teardown", "-e", "teardown_images=true")
    assert difference(clean, world.snapshot()) == {}


def test_locked_in_and_closed(site: Site) -> None:
    site.changed("deploy")
    instance = site.instance()
    address, address6 = instance["addresses"][0]["ipv4"], instance["addresses"][0]["ipv6"]

    seen = site.inside()
    assert seen["hostname"] == "service-demo"
    assert "catatonit" in seen["processes"]["1"] or "init" in seen["processes"]["1"]
    assert len(seen["processes"]) == 2, "its init and itself"
    assert seen["interfaces"] == ["eth0", "lo"]
    assert seen["uid"] == 1000
    assert seen["uid_map"][0] == "0"
    assert int(seen["uid_map"][1]) >= 1 << 20
    assert [line.split()[1] for line in seen["capabilities"]] == ["0" * 16] * 5
    assert not any(mount.startswith(("/var/lib/isolation", "/home", "/root")) for mount in seen["mounts"])

    # T11: neither the service's nor the bridge's own address can be reached past the published port.
    for target in (address, "10.88.0.1", f"[{address6}]", "[fd88::1]"):
        for port in (3000, 8080):
            assert site.get(f"http://{target}:{port}/", ns="attacker") == "", f"{target}:{port} is open"


def test_published_on_loopback_is_closed_to_neighbours(site: Site) -> None:
    """T12: a packet that is forged to 127.0.0.1 gets no answer."""
    site.service["ports"][0]["host_address"] = "127.0.0.1"
    site.changed("deploy")
    assert site.get("http://127.0.0.1:8080/") == "hello world"
    assert site.get(f"http://{HOST4}:8080/", ns="client") == ""
    world = site.world
    world.sh(
        f"ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {HOST4} dev eth0;"
        "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1",
        ns="attacker",
    )
    world.sh("sysctl -qw net.ipv4.conf.lan0.route_localnet=1 net.ipv4.conf.all.route_localnet=1")
    assert site.get("http://127.0.0.1:8080/", ns="attacker") == ""
    assert site.get("http://127.0.0.1:8080/") == "hello world"


def test_comes_back_after_its_init_was_killed(site: Site) -> None:
    site.changed("deploy")
    before = site.instance()
    site.world.run(["kill", "-9", str(before["pid"])])
    site.world.wait(lambda: site.get("http://127.0.0.1:8080/") == "hello world", 5, "the service is back")
    after = site.instance()
    assert after["pid"] != before["pid"]
    assert after["addresses"] == before["addresses"]
    assert site.changed("deploy", "--check") == 0


def test_a_new_release_replaces_the_old_and_a_bad_one_does_not(site: Site) -> None:
    site.changed("deploy")
    first = site.instance()
    site.service["environment"]["RELEASE"] = "2"
    assert site.changed("deploy") > 0
    second = site.instance()
    assert second["name"] != first["name"]
    assert site.get("http://127.0.0.1:8080/") == "hello world"

    site.service["command"] = ["/usr/bin/python3", "-c", "raise SystemExit('this release is broken')"]
    site.variables["isolation_rollout"]["healthy_deadline"] = "5s"
    failed = site.play("deploy", check=False)
    assert failed.returncode != 0
    assert "this release is broken" in failed.stdout, "the failure shows the log"
    assert site.instance()["name"] == second["name"]
    assert site.get("http://127.0.0.1:8080/") == "hello world"


def _drop(site: Site) -> str:
    release = site.instance()["name"].rpartition("-")[2]
    return f"/sys/fs/cgroup/pids/isolation/service-demo/{release}/pids.max"


def test_drift_is_found_and_mended(site: Site) -> None:
    site.changed("deploy")
    world = site.world
    limit = _drop(site)
    world.sh(f"nft delete table inet isolation_nat; echo 99 > {limit}; ip addr del 10.88.0.1/24 dev isodemo0")
    status = site.play("status").stdout
    for line in ("pids_max: 99 → 64", "addresses", "tcp 8080"):
        assert line in status, f"{line} is missing in the status"
    assert site.changed("deploy") > 0
    assert site.changed("deploy", "--check") == 0
    assert site.get(f"http://{HOST4}:8080/", ns="client") == "hello world"


Change = t.Callable[[Site], t.Any]


def _set(*path: t.Any) -> Change:
    """Set a value below the service's declaration; the last of `path` is the value."""

    def change(site: Site) -> None:
        place = site.service
        for key in path[:-2]:
            place = place[key]
        place[path[-2]] = path[-1]

    return change


def _second_service(site: Site) -> None:
    site.variables["isolation_services"].append({**site.service, "name": "other"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("networks", [{"bridge": "isodemo0", "address": "10.99.0.5"}]), "10.99.0.5"),
        (_set("rootfs", "source", "tar", "checksum", "sha256:" + "0" * 64), "0000000000"),
        (_set("networks", [{"bridge": "nosuch0"}]), "nosuch0"),
        (_set("resources", "memory_max", "12Q"), "12Q"),
        (_second_service, "host port 8080/tcp is published by two services: service-demo and other"),
        (_set("comand", ["/bin/true"]), "comand"),
    ],
    ids=["address", "checksum", "bridge", "size", "port-twice", "misspelt"],
)
def test_bad_input_is_refused_before_any_change(site: Site, change: Change, message: str) -> None:
    site.prepare()
    change(site)
    assert message in site.refused()


def test_a_taken_port_is_refused_before_any_change(site: Site) -> None:
    site.prepare()
    listener = site.world.popen(["/usr/bin/python3", "-m", "http.server", "8080"])
    try:
        site.world.wait(lambda: "8080" in site.world.sh("ss -ltn"), what="the listener is up")
        message = site.refused()
        assert "8080" in message
        assert "python3" in message, "it names who has the port"
    finally:
        os.kill(listener.pid, signal.SIGTERM)
        listener.wait()


def test_a_command_that_is_not_there_is_refused_before_any_change(site: Site) -> None:
    """The image is on the host already, so that the check beforehand can look into it."""
    site.changed("deploy")
    site.service["command"] = ["/usr/bin/no-such-program"]
    assert "/usr/bin/no-such-program is not a program in the root filesystem" in site.refused()
    site.service["command"] = ["/srv/app.py"]
    assert "/srv/app.py is not a program" not in site.play("deploy", "--check").stdout, "it is laid in by files"


def test_a_command_that_only_unpacking_shows_to_be_missing(site: Site) -> None:
    site.service["command"] = ["/usr/bin/no-such-program"]
    failed = site.play("deploy", check=False)
    assert failed.returncode != 0
    assert "/usr/bin/no-such-program is not a program in the root filesystem" in failed.stdout
    # What was prepared for it goes with the next deployment.
    site.service["command"] = ["/usr/bin/python3", "-u", "/srv/app.py"]
    site.changed("deploy")
    info = site.world.apply("host_info", gather_subset=["rootfs", "slices"])
    assert (len(info["rootfs"]), len(info["slices"])) == (1, 1)
    assert site.changed("deploy") == 0
