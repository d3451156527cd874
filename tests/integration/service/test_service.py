# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services on the real kernel, supervised by runit."""

from __future__ import annotations

import time
import typing as t

import pytest
from services import COMMAND, PROBE, Host, end_supervisor, processes
from world import World, difference

LIVE = {"restart": {"delay": "200ms"}, "stop_timeout": "3s", "health": {"tcp": {"port": 80}}}


def test_from_nothing_and_back(host: Host) -> None:
    world = host.world
    clean = world.snapshot()
    host.rootfs("web")
    prepared = world.snapshot()

    applied = world.cycle("namespaced_service", **host.options("web"))
    service = applied["service"]
    assert host.ask(service) == "hello world"
    assert host.ask(service, family="ipv6") == "hello world"
    lines = applied["diff"][0]["after"].splitlines()
    assert "state: started" in lines
    assert any(line.startswith("address iso0: 10.88.0.") for line in lines)

    seen = host.see("web")
    assert (seen["state"], seen["pid"], seen["namespaces"]) == ("started", service["pid"], service["namespaces"])
    assert set(service["namespaces"]) == {"pid", "mnt", "net", "uts", "ipc", "cgroup", "user", "time"}
    own = world.sh("for kind in pid mnt net uts ipc cgroup user time; do readlink /proc/1/ns/$kind; done")
    assert not any(str(number) in own for number in service["namespaces"].values())

    world.cycle("namespaced_service", name="web", state="absent")
    assert difference(prepared, world.snapshot()) == {}
    world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert difference(clean, world.snapshot()) == {}


def test_locked_in(host: Host) -> None:
    service = host.run("web", hostname="inner")
    seen = host.inside(service)

    assert seen["hostname"] == "inner"
    assert list(seen["processes"]) == ["1", *[pid for pid in seen["processes"] if pid != "1"]][:2]
    assert seen["processes"]["1"].startswith("/dev/init")
    assert seen["interfaces"] == ["eth0", "lo"]
    assert set(seen["capabilities"].values()) == {"0" * 16}
    assert len(seen["capabilities"]) == 5
    assert (seen["no_new_privileges"], seen["seccomp"]) == ("1", "2")
    assert seen["uid_map"] == ["0", str(service["id_base"]), "65536"] == seen["gid_map"]
    assert service["id_base"] >= 1 << 20
    assert (seen["uid"], seen["gid"], seen["groups"]) == (0, 0, [])
    # T2: nothing is inherited. Its own descriptors are its output, the listening socket, one connection and the listing itself.
    assert seen["init_descriptors"] == "EACCES" or set(seen["init_descriptors"]) >= {"0", "1", "2"}

    # T7
    assert set(seen["calls"].values()) == {"EPERM", "ENOSYS"}, seen["calls"]
    assert [name for name, answer in seen["calls"].items() if answer == "ENOSYS"] == ["clone3"]
    sockets = seen["sockets"]
    assert (sockets["inet"], sockets["unix"]) == ("done", "done")
    assert {sockets[name] for name in ("alg", "alg_hidden", "vsock", "packet")} == {"EPERM"}

    # T3, T8
    assert all(content in ("", []) for content in seen["masked"].values()), seen["masked"]
    assert {"/proc/keys", "/proc/timer_list"} <= set(seen["masked"])
    writes = dict(seen["writes"])
    assert writes.pop("/written") == "done"
    assert writes.pop("/proc/self/oom_score_adj") in ("done", "EACCES", "EPERM")
    assert set(writes.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, writes
    assert seen["cgroups"]
    assert set(seen["cgroups"].values()) <= {"EROFS", "EACCES"}
    assert seen["release_agents"] == []
    assert "core" in seen["devices"]
    assert set(seen["devices"]) <= {
        "core", "fd", "full", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    }  # fmt: skip

    # T9, T10: nothing of the host's files is there, and what is mounted grants nothing.
    mounts = seen["mounts"]
    assert not [path for path in mounts if path.startswith(("/var/lib/isolation", "/home", "/root", "/run"))]
    for path, options in mounts.items():
        if path.startswith(("/proc/", "/sys/")) and "ro" in options.split(","):
            continue  # what is masked lies under an empty file system that nobody can write to
        assert "nosuid" in options.split(","), f"{path} {options}"
    assert "ro" in mounts["/sys"].split(",")
    assert seen["accept_ra"] == "0"

    # Root inside is a user without rights outside.
    status = host.world.sh(f"cat /proc/{service['pid']}/status")
    assert f"Uid:\t{service['id_base']}\t" in status
    owners = host.world.sh("stat -c %u /var/lib/isolation/instances/web/layers/upper/written")
    assert owners.strip() == str(service["id_base"])


def test_a_running_service_becomes_a_gateway(host: Host) -> None:
    """Its link may send for the networks behind it from the next run on, and no longer when the route has gone; it runs on."""
    bridge = {"name": "iso5", "addresses": ["10.77.0.1/24"]}
    networks = [{"bridge": "iso5", "address": "10.77.0.9"}]
    host.world.apply("bridge", **bridge)
    started = host.run("router", networks=networks)
    for routes, jumps in (([{"to": "192.0.2.0/24", "via": "10.77.0.9"}], 1), ([], 0)):
        host.world.apply("bridge", **bridge, routes=routes)
        changed = host.world.cycle("namespaced_service", **host.options("router", networks=networks))
        assert changed["diff"][0]["after"] == "artifact network.nft: as asked for\neffect: live\n"
        assert changed["service"]["pid"] == started["pid"]
        assert host.world.sh("nft list table bridge isolation_bridge").count("jump routed-iso5") == jumps


def test_no_descriptor_is_inherited(host: Host) -> None:
    """T2: what the supervisor and the runtime had open stays outside."""
    host.rootfs("web")
    listing = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int), flush=True); import time; time.sleep(600)"
    host.run("web", init=False, command=["/usr/bin/python3", "-c", listing], networks=[], health=None)
    # The fourth is the listing's own.
    assert "['0', '1', '2', '3']" in host.log("web")


def test_a_slice_of_the_same_name(host: Host) -> None:
    """A service without a slice is in none, whichever of the two is made first; nothing is left of either."""
    world = host.world
    host.rootfs("web")
    host.rootfs("api")
    before = world.snapshot()
    world.apply("cgroup_slice", name="web", pids_max=5)
    web = world.cycle("namespaced_service", **host.options("web"))["service"]
    api = world.cycle("namespaced_service", **host.options("api"))["service"]
    world.cycle("cgroup_slice", name="api", pids_max=5)
    for service, name in ((web, "web"), (api, "api")):
        assert service["cgroup"] == f"/isolation/no.slice/{name}"
        assert host.ask(service, "/fork?40") == "40 done"
        assert not world.module("namespaced_service", check=True, **host.options(name))["changed"]
    for name in ("web", "api"):
        world.cycle("namespaced_service", name=name, state="absent")
        world.cycle("cgroup_slice", name=name, state="absent")
    assert difference(before, world.snapshot()) == {}


@pytest.mark.alone
def test_comes_back_and_changes_take_the_effect_that_they_tell(host: Host) -> None:
    world = host.world
    first = host.run("web")
    begin = time.monotonic()
    world.run(["kill", "-9", str(first["pid"])])
    world.wait(lambda: host.ask(first) == "hello world", 5, "the service is back")
    assert time.monotonic() - begin < 5
    second = host.see("web")
    assert second["pid"] != first["pid"]
    assert second["addresses"] == first["addresses"]
    assert not world.module("namespaced_service", check=True, **host.options("web"))["changed"]

    live = world.cycle("namespaced_service", **host.options("web", **LIVE))
    assert live["service"]["pid"] == second["pid"], "these changes take no restart"
    assert [line.split(":")[0] for line in live["diff"][0]["after"].splitlines()] == [
        "stop_timeout",
        "restart",
        "health",
        "effect",
    ]

    third = world.cycle("namespaced_service", **host.options("web", **LIVE, environment={"GREETING": "moin"}))
    assert third["diff"][0]["after"] == "environment GREETING: moin\neffect: restart\n"
    assert third["service"]["pid"] != second["pid"]
    assert host.ask(third["service"]) == "moin"

    again = host.options("web", **LIVE, environment={"GREETING": "moin"}, state="restarted")
    fourth = world.apply("namespaced_service", **again)
    assert fourth["changed"]
    assert fourth["service"]["pid"] != third["service"]["pid"]

    again["state"] = "stopped"
    stopped = world.cycle("namespaced_service", **again)
    assert (stopped["service"]["state"], stopped["service"]["pid"]) == ("stopped", None)
    assert host.ask(first) == ""
    assert first["addresses"][0]["interface"] not in world.sh("ip link")
    again["state"] = "present"
    assert not world.apply("namespaced_service", **again)["changed"]
    again["state"] = "started"
    assert world.cycle("namespaced_service", **again)["service"]["addresses"] == first["addresses"]


def test_what_was_changed_by_hand_is_found(host: Host) -> None:
    world = host.world
    first = host.run("web")
    wanted = host.options("web")
    world.sh("echo >>/var/lib/isolation/instances/web/config.json")
    edited = world.cycle("namespaced_service", **wanted)
    assert edited["diff"][0]["before"] == "artifact config.json: edited\n"
    assert edited["service"]["pid"] != first["pid"]

    world.sh("echo '# more' >>/etc/isolation/runit/sv/web/finish; rm /usr/local/libexec/isolation/network")
    helper = world.cycle("namespaced_service", **wanted)
    assert "finish: edited" in helper["diff"][0]["before"]
    assert "helper network" in helper["diff"][0]["after"]
    assert helper["service"]["pid"] == edited["service"]["pid"]

    world.sh("rm /etc/service/isolation-web")
    world.wait(lambda: host.ask(first) == "", 15, "runsvdir has dropped it")
    linked = world.apply("namespaced_service", **wanted)
    assert "supervised: yes" in linked["diff"][0]["after"]
    assert host.ask(linked["service"]) == "hello world"


def test_a_new_release_replaces_the_old_and_a_bad_one_does_not(host: Host) -> None:
    world = host.world
    old = host.run("web-1", service="web")
    host.rootfs("web-2", service="web")
    host.rootfs("web-3", service="web")
    new = world.cycle("namespaced_service", **host.options("web-2", service="web", replaces="web-1"))
    assert "replaces web-1: stopped" in new["diff"][0]["after"]
    assert (new["service"]["release"], new["service"]["id_base"]) == ("2", old["id_base"])
    assert host.ask(new["service"]) == "hello world"
    assert host.see("web-1")["state"] == "stopped"
    boot = "ls /etc/isolation/runit/sv/web-1/down; test ! -e /etc/isolation/runit/sv/web-2/down"
    assert world.sh(boot)

    broken = [*COMMAND[:1], "-c", "raise SystemExit('this release is broken')"]
    bad = host.options("web-3", service="web", replaces="web-2", command=broken)
    failed = world.module("namespaced_service", **bad)
    assert failed["failed"]
    for part in ("this release is broken", "web-3 was stopped, web-2 was started again"):
        assert part in failed["msg"]
    world.wait(lambda: host.ask(new["service"]) == "hello world", 5, "the old one answers again")
    assert (host.see("web-2")["state"], host.see("web-3")["state"]) == ("started", "stopped")
    assert world.sh("ls /etc/isolation/runit/sv/web-3/down; test ! -e /etc/isolation/runit/sv/web-2/down")

    # One that runs, but never gets well.
    deaf = host.options("web-3", service="web", replaces="web-2", environment={"PORT": "81"})
    deaf["gate"] = {"min_healthy_time": "0s", "deadline": "2s"}
    failed = world.module("namespaced_service", **deaf)
    assert "not well within 2 s: GET http://" in failed["msg"]
    world.wait(lambda: host.ask(new["service"]) == "hello world", 5, "the old one answers again")


def test_bombs_are_held(host: Host) -> None:
    """T17: a memory bomb and a fork bomb end at their own limits; the host and the siblings go on."""
    world = host.world
    wanted: dict[str, dict[str, t.Any]] = {"a": {"memory_max": "64M", "memory_swap_max": "0"}, "a-b": {"pids_max": 64}}
    for name, limits in wanted.items():
        world.apply("cgroup_slice", name=name, **limits)
    sibling = host.run("sibling")
    memory = host.run("a", slice="a")
    pids = host.run("a-b", slice="a-b")

    host.ask(memory, "/eat?200")
    world.wait(lambda: host.ask(memory) == "hello world", 10, "the service is there, again or still")
    peak = int(world.sh("cat /sys/fs/cgroup/memory/isolation/a/memory.max_usage_in_bytes"))
    assert peak <= 64 << 20
    count, answer = host.ask(pids, "/fork?200").split()
    assert (int(count) < 64, answer) == (True, "EAGAIN")
    assert host.ask(sibling, "/fork?200") == "200 done", "a-b's limit is not a's, and nobody else's"
    assert host.see("sibling")["pid"] == sibling["pid"]
    assert host.ask(pids) == "hello world"
    assert pids["cgroup"] == "/isolation/a-b/a-b"

    for name in ("a", "a-b", "sibling"):
        world.apply("namespaced_service", name=name, state="absent")
    for name in ("a", "a-b"):
        world.apply("cgroup_slice", name=name, state="absent")
    assert world.sh("find /sys/fs/cgroup -type d -name isolation") == ""


def test_options_take_effect(host: Host) -> None:
    world = host.world
    world.sh("mkdir -p /run/data/in && echo shared >/run/data/in/file")
    accounts = "root:x:0:0::/:/bin/sh\nprobe:x:1000:1001::/:/bin/sh\n"
    files = [("/etc/passwd", accounts), ("/etc/group", "probe:x:1001:\nextra:x:1002:\n")]
    host.rootfs("web", files=[
        *({"path": path, "content": content} for path, content in files),
        {"path": "/srv/probe.py", "content": PROBE},
    ])  # fmt: skip
    wanted = host.options(
        "web",
        args=["--one", "two words"],
        environment={"GREETING": "a 'quoted' $HOME"},
        user="probe:extra",
        workdir="/srv",
        tmpfs=[{"target": "/tmp/cache", "size": "1M", "mode": "0700"}],
        mounts=[
            {"source": "/run/data", "target": "/data", "read_only": True},
            {"source": "/run/data/in", "target": "/data/in", "exec": False},
        ],
        rlimits={"nofile": "100:200"},
        sysctls={"kernel.msgmax": 4096},
        dns={"nameservers": ["192.0.2.53"], "search": ["example.org"], "options": ["ndots:2"]},
        extra_hosts={"db": "192.0.2.7"},
        capabilities=["net_raw"],
        networks=[{"bridge": "iso0", "address": "10.88.0.77"}],
    )
    service = world.cycle("namespaced_service", **wanted)["service"]
    assert service["addresses"][0]["ipv4"] == "10.88.0.77"
    seen = host.inside(service)
    assert seen["argv"] == ["--one", "two words"]
    assert host.ask(service) == "a 'quoted' $HOME"
    assert (seen["uid"], seen["gid"], seen["cwd"]) == (1000, 1002, "/srv")
    assert "size=1024k" in world.sh(f"grep ' /tmp/cache ' /proc/{service['pid']}/mountinfo")
    for path, flags in {"/data": {"ro", "nosuid", "nodev"}, "/data/in": {"rw", "noexec"}}.items():
        assert flags <= set(seen["mounts"][path].split(",")), seen["mounts"][path]
    assert world.sh(f"cat /proc/{service['pid']}/root/data/in/file") == "shared\n"
    assert seen["limits"] == [100, 200]
    assert seen["msgmax"] == "4096"
    assert seen["resolv_conf"] == "nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n"
    assert "192.0.2.7 db\n" in seen["hosts"]
    assert "10.88.0.77 web\n" in seen["hosts"]
    assert {int(value, 16) for value in seen["capabilities"].values()} == {1 << 13}
    assert seen["sockets"]["packet"] == "done"


def test_many_at_once_have_addresses_of_their_own(host: Host) -> None:
    world = host.world
    names = [f"many{number}" for number in range(4)]
    for name in names:
        host.rootfs(name)
    beside = host.options("many0")
    beside.pop("name")
    elements: list[dict[str, t.Any]] = [{"name": name, "rootfs": name} for name in names]
    elements[3]["networks"] = [{"bridge": "iso0", "address": ["10.88.0.4", "fd88::4"]}]
    result = world.cycle("namespaced_service", aggregate=elements, **beside)
    services = [entry["service"] for entry in result["results"]]
    addresses = [service["addresses"][0][family] for service in services for family in ("ipv4", "ipv6")]
    assert len(set(addresses)) == 8
    assert addresses[-2:] == ["10.88.0.4", "fd88::4"]
    assert len({service["id_base"] for service in services}) == 4
    assert [host.ask(service) for service in services] == ["hello world"] * 4
    groups = {service["cgroup"] for service in services}
    assert len(groups) == 4


@pytest.mark.alone
def test_a_service_that_keeps_ending_waits_longer_each_time(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    wanted = host.options("web", command=["/usr/bin/python3", "-c", "print('again', flush=True); raise SystemExit(3)"])
    wanted.update(networks=[], health=None, restart={"delay": "200ms", "max_delay": "30s"}, gate={"deadline": "20s"})
    failed = world.module("namespaced_service", **wanted)
    assert "it has ended 3 times since its start; its log ends with:\nagain" in failed["msg"]
    assert host.see("web")["state"] == "failing"
    time.sleep(6)
    count = host.log("web").count("again")
    assert 4 <= count <= 7, "0.2, 0.4, 0.8, 1.6, 3.2 s: it neither gives up nor hurries"

    begin = time.monotonic()
    world.apply("namespaced_service", **{**wanted, "state": "stopped"})
    assert time.monotonic() - begin < 3, "a delay does not hold up a stop"
    assert processes(world, "sleep ") == [], "nothing sleeps any more"
    ended = {"policy": "on-failure", "delay": "200ms"}
    good = world.module("namespaced_service", **{**wanted, "restart": ended, "command": ["/usr/bin/python3", "-c", ""]})
    assert good["failed"], "one that ends at once has not become well"
    assert host.see("web")["state"] == "stopped", "it ended well, and is not started again"


def test_reboot(host: Host) -> None:
    """Nothing is left but files: the supervisor brings the root filesystem and the service back."""
    world = host.world
    service = host.run("web")
    script = "/etc/isolation/boot.d/10-bridge.sh"
    world.sh(
        f"mkdir -p /etc/isolation/boot.d; printf '%s\\n' 'ip link add iso0 address 02:00:00:00:00:01 type bridge'"
        f" 'ip address add 10.88.0.1/24 dev iso0' 'ip address add fd88::1/64 dev iso0' 'ip link set iso0 up' >{script}"
    )
    end_supervisor(world)
    world.sh("umount /var/lib/isolation/instances/web/rootfs; ip link delete iso0; rm -rf /run/isolation /run/crun")
    host.supervise()
    world.wait(lambda: host.ask(service) == "hello world", 15, "the service is back")
    checked = world.module("namespaced_service", check=True, **host.options("web"))
    assert checked["diff"] == []


def test_runc_and_a_directory_of_ones_own(host: Host) -> None:
    world = host.world
    service = host.run("web")
    root = "/var/lib/isolation/instances/web/rootfs"
    other = host.run("other", rootfs=root, service="web", runtime="runc")
    assert other["runtime"] == "runc"
    seen = host.inside(other)
    assert seen["uid_map"][1] == str(service["id_base"])
    assert set(seen["capabilities"].values()) == {"0" * 16}
    assert set(seen["calls"].values()) == {"EPERM", "ENOSYS"}
    world.cycle("namespaced_service", name="other", service="web", state="absent")
    assert host.ask(service) == "hello world"


Options = t.Dict[str, t.Any]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": [{"bridge": "iso0", "address": "10.99.0.5"}]}, "10.99.0.5 is outside of the subnets of bridge iso0"),
        ({"networks": [{"bridge": "iso0", "address": "10.88.0.1"}]}, "10.88.0.1 is the network's own"),
        ({"networks": [{"bridge": "nosuch0"}]}, "there is no bridge nosuch0"),
        ({"command": ["/usr/bin/no-such-program"]}, "/usr/bin/no-such-program is not a program"),
        ({"command": ["/etc/passwd"]}, "/etc/passwd is not a program"),
        ({"rootfs": "nosuch"}, "there is no root filesystem nosuch"),
        ({"slice": "no/such"}, "there is no slice no/such"),
        ({"service": "another"}, "belongs to ids from"),
        ({"workdir": "/proc/self/fd/7"}, "a directory under /proc is refused"),
        ({"capabilities": ["CAP_MAGIC"]}, "CAP_MAGIC"),
        ({"mounts": [{"source": "/no/such", "target": "/data"}]}, "/no/such is not on this host"),
        ({"mounts": [{"source": "/etc", "target": "/dev/x"}]}, "nothing can be mounted"),
        ({"sysctls": {"kernel.core_pattern": "x"}}, "kernel.core_pattern"),
        ({"user": "nobodyhere"}, "nobodyhere"),
        ({"seccomp": "/etc/hostname"}, "/etc/hostname: not a profile"),
        ({"runtime_policy": "strict", "runtime": "crun"}, "crun 1.8.1 is older than 1.25.1"),
        ({"id_base": 5}, "id_base: 5"),
        ({"comand": ["x"]}, "comand"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_change(host: Host, options: Options, message: str) -> None:
    host.rootfs("web")
    assert message in host.world.refused("namespaced_service", **host.options("web", **options))


def test_whose_it_is(host: Host) -> None:
    """Neither another project's instance nor another instance's address is taken; what has no record is not ours."""
    world = host.world
    service = host.run("web")
    address = service["addresses"][0]["ipv4"]
    host.rootfs("other")
    taken = host.options("other", networks=[{"bridge": "iso0", "address": address}])
    assert f"{address} belongs to web" in world.refused("namespaced_service", **taken)
    assert "belongs to project 'default'" in world.refused("namespaced_service", project="b", **host.options("web"))
    assert "belongs to project" in world.refused("namespaced_service", project="b", name="web", state="absent")
    world.sh("mkdir -p /etc/isolation/runit/sv/other; echo x >/etc/isolation/runit/sv/other/run")
    assert "no record tells of it" in world.refused("namespaced_service", **host.options("other"))


def test_without_a_supervisor_it_is_said_before_any_change(world: World, host: Host) -> None:
    host.rootfs("web")
    end_supervisor(world)
    before = world.snapshot()
    rehearsed = world.module("namespaced_service", check=True, **host.options("web"))
    assert rehearsed["changed"], "the role installs a supervisor before it is needed"
    assert "nothing supervises services on this host" in str(rehearsed["warnings"])
    failed = world.module("namespaced_service", **host.options("web"))
    assert "isolation_host" in failed["msg"]
    assert difference(before, world.snapshot()) == {}


def test_check_mode_on_a_host_that_has_nothing_yet(world: World) -> None:
    promises = {
        "bridges": [{"name": "iso9", "addresses": ["10.9.0.1/24"]}],
        "rootfs": [{"name": "web", "path": "/var/lib/isolation/instances/web/rootfs", "id_base": 7 << 20}],
        "slices": [{"name": "web"}],
    }
    before = world.snapshot()
    predicted = world.module(
        "namespaced_service", check=True, name="web", rootfs="web", slice="web", command=["/bin/anything"],
        networks=[{"bridge": "iso9"}], expect=promises,
    )  # fmt: skip
    assert predicted["changed"], predicted.get("msg")
    assert predicted["results"][0]["predicted"]
    assert predicted["service"]["addresses"][0]["ipv4"].startswith("10.9.0.")
    assert predicted["service"]["id_base"] == 7 << 20
    assert difference(before, world.snapshot()) == {}


def test_absent_takes_a_crashed_one_with_it(host: Host) -> None:
    """What is left when the logger was killed, without which nothing supervises the service, is removed, too."""
    world = host.world
    host.rootfs("web")
    before = world.snapshot()
    service = host.run("web")
    logger = world.sh("pgrep -x svlogd").split()
    world.run(["kill", "-9", *logger])
    world.wait(lambda: host.see("web")["pid"] not in (None, service["pid"]), 5, "it was started again")
    world.wait(lambda: host.ask(service) == "hello world", 5, "the service is back")
    assert len(processes(world, "/srv/probe.py")) == 2, "init and server, once"
    world.apply("namespaced_service", name="web", state="absent")
    assert difference(before, world.snapshot()) == {}
