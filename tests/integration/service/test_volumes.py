# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named volumes: whose the files are, and when they go."""

from __future__ import annotations

import json
import typing as t

import pytest
from services import PROBE, Host, end_supervisor, processes
from world import difference

STORE = "/var/lib/isolation/volumes"
INSTANCES = "/var/lib/isolation/instances"

# Tells what is in the volume, writes a file named for the release, tells how that ended.
PROGRAM = """
import errno, json, os, time
found = {name: os.stat("/var/data/" + name).st_uid for name in sorted(os.listdir("/var/data"))}
try:
    with open("/var/data/" + os.environ["RELEASE"], "w") as stream:
        stream.write("kept")
    wrote = "done"
except OSError as error:
    wrote = errno.errorcode[error.errno]
top = os.stat("/var/data")
print(json.dumps({"found": found, "wrote": wrote, "top": [top.st_uid, top.st_gid, oct(top.st_mode & 0o7777)]}), flush=True)
time.sleep(100000)
"""


def options(host: Host, name: str, release: str, **given: t.Any) -> dict[str, t.Any]:
    """A service without networks that writes into its volume as user 1000; `volume` are options of the mount."""
    mount = {"type": "volume", "source": "web-data", "target": "/var/data", **given.pop("volume", {})}
    wanted = {
        "command": ["/usr/bin/python3", "-c", PROGRAM], "environment": {"RELEASE": release}, "user": "1000:1001",
        "networks": [], "health": None, "gate": {"min_healthy_time": "300ms"}, "mounts": [mount], **given,
    }  # fmt: skip
    return host.options(name, **wanted)


def rootfs(host: Host, name: str, **given: t.Any) -> None:
    """A root filesystem that has the directory which the volume covers."""
    files = [
        {"path": "/srv/probe.py", "content": PROBE},
        {"path": "/var/data", "state": "directory", "owner": 1000, "group": 1001, "mode": "0750"},
    ]
    host.rootfs(name, files=files, **given)


def told(host: Host, name: str) -> dict[str, t.Any]:
    """What the program said last."""
    lines = [line for line in host.log(name).splitlines() if '"found"' in line]
    return json.loads(lines[-1].partition(" ")[2])  # type: ignore[no-any-return]


def mounted(host: Host) -> list[str]:
    """The mount points of volumes on the host."""
    lines = host.world.sh("cat /proc/self/mountinfo").splitlines()
    return sorted(line.split()[4] for line in lines if "/volumes/" in line.split()[4])


def test_a_volume_outlives_releases_and_their_ids(host: Host) -> None:
    """T9b: the files have the same owner for a release with another range of ids, and nothing is chowned."""
    world = host.world
    clean = world.snapshot()
    rootfs(host, "one", id_base=3 << 20)
    rootfs(host, "two", id_base=5 << 20)
    prepared = world.snapshot()
    first = world.cycle("namespaced_service", **options(host, "one", "r1", id_base=3 << 20))
    lines = first["diff"][0]["after"].splitlines()
    assert "mounts: volume web-data on /var/data" in lines
    assert "volume web-data: empty" in lines
    assert told(host, "one") == {"found": {}, "wrote": "done", "top": [1000, 1001, "0o750"]}
    assert world.sh(f"stat -c '%n %u %g %a' {STORE} {STORE}/web-data {STORE}/web-data/r1").splitlines() == [
        f"{STORE} 0 0 700", f"{STORE}/web-data 1000 1001 750", f"{STORE}/web-data/r1 1000 1001 644",
    ]  # fmt: skip
    inside = world.sh(f"grep ' /var/data ' /proc/{first['service']['pid']}/mountinfo").split()[5].split(",")
    assert {"nosuid", "nodev", "rw", "idmapped"} <= set(inside)
    assert mounted(host) == [f"{INSTANCES}/one/volumes/web-data"]
    changed = world.sh(f"stat -c %Z {STORE}/web-data/r1")

    # Two at once, with different ids.
    world.cycle("namespaced_service", **options(host, "two", "r2", id_base=5 << 20))
    assert told(host, "two") == {"found": {"r1": 1000}, "wrote": "done", "top": [1000, 1001, "0o750"]}
    (seen,) = world.apply("host_info", gather_subset=["volumes"])["volumes"]
    assert seen == {
        "name": "web-data", "project": "default", "path": f"{STORE}/web-data", "exists": True, "size": None, "services": ["one", "two"],
        "mounted": ["one", "two"],
    }  # fmt: skip

    # After a stop and a start; stopped, nothing is mounted for it.
    world.cycle("namespaced_service", **options(host, "one", "r1", id_base=3 << 20, state="stopped"))
    assert mounted(host) == [f"{INSTANCES}/two/volumes/web-data"]
    world.cycle("namespaced_service", **options(host, "one", "r1", id_base=3 << 20))
    assert told(host, "one")["found"] == {"r1": 1000, "r2": 1000}
    assert world.sh(f"stat -c %Z {STORE}/web-data/r1") >= changed

    used = world.refused("namespaced_service", name="one", state="absent", purge_volumes=["web-data"])
    assert "web-data is used by two" in used
    for name in ("one", "two"):
        world.cycle("namespaced_service", name=name, state="absent")
    kept = difference(prepared, world.snapshot())
    assert set(kept) == {"files"}
    assert all(
        "web-data" in line or line.startswith(STORE + " ") or "/etc/isolation/volume " in line
        for line in kept["files"]["new"]
    )
    assert world.sh(f"cat {STORE}/web-data/r2") == "kept"
    (seen,) = world.apply("host_info", gather_subset=["volumes"])["volumes"]
    assert (seen["services"], seen["mounted"]) == ([], [])

    foreign = world.refused("namespaced_service", project="b", name="x", state="absent", purge_volumes=["web-data"])
    assert "belongs to project 'default'" in foreign
    purged = world.cycle("namespaced_service", name="one", state="absent", purge_volumes=["web-data"])
    assert purged["diff"][0]["before"] == "volume web-data: kept\n"
    assert difference(prepared, world.snapshot()) == {}
    for name in ("one", "two"):
        world.apply("rootfs_prepare", name=name, state="absent", prune_images=True)
    assert difference(clean, world.snapshot()) == {}


def test_read_only_and_changes_of_mounts(host: Host) -> None:
    world = host.world
    rootfs(host, "web")
    world.apply("namespaced_service", **options(host, "web", "r1"))
    changed = world.cycle("namespaced_service", **options(host, "web", "r2", volume={"read_only": True}))
    assert "mounts: volume web-data on /var/data read-only" in changed["diff"][0]["after"].splitlines()
    assert told(host, "web") == {"found": {"r1": 1000}, "wrote": "EROFS", "top": [1000, 1001, "0o750"]}

    # Another volume, and then none: what was mounted is not left behind.
    world.cycle("namespaced_service", **options(host, "web", "r3", volume={"source": "other"}))
    assert mounted(host) == [f"{INSTANCES}/web/volumes/other"]
    assert told(host, "web")["found"] == {}
    world.cycle("namespaced_service", **options(host, "web", "r3", mounts=[]))
    assert mounted(host) == []
    assert world.sh(f"ls {INSTANCES}/web") == world.sh(f"ls {INSTANCES}/web | grep -v volumes")
    purged = world.cycle("namespaced_service", name="web", state="absent", purge_volumes=["other", "web-data", "none"])
    assert len(purged["diff"][0]["before"].splitlines()) == 3
    assert "volumes" not in world.sh("ls /var/lib/isolation")


def test_whatever_ends_it_the_volume_is_there_at_the_next_start(host: Host) -> None:
    """kill -9 of the service, of the runtime, of the supervisor; and a boot without Ansible."""
    world = host.world
    rootfs(host, "web")
    before = world.snapshot()
    wanted = options(host, "web", "r1")
    world.apply("namespaced_service", **wanted)
    for victim in ("pgrep -f '^/dev/init'", "pgrep -x svlogd", "pgrep -x runsv"):
        starts = host.log("web").count('"found"')
        world.sh(f"kill -9 $({victim} | head -n 1)")
        world.wait(lambda: host.log("web").count('"found"') > starts, 15, f"it is back after {victim}")  # noqa: B023
        assert told(host, "web")["found"] == {"r1": 1000}
        assert len(mounted(host)) == 1
    assert world.module("namespaced_service", check=True, **wanted)["diff"] == []

    end_supervisor(world)
    world.sh(f"umount -l {INSTANCES}/web/volumes/web-data 2>/dev/null || :; rm -rf /run/isolation /run/crun")
    host.supervise()
    world.wait(lambda: host.see("web")["pid"], 15, "it is back after a boot")
    world.wait(lambda: told(host, "web")["found"] == {"r1": 1000}, 5, "it sees its file")
    assert len(mounted(host)) == 1
    assert world.module("namespaced_service", check=True, **wanted)["diff"] == []

    world.sh("sv down /etc/service/isolation-web; sv -w 10 down /etc/service/isolation-web")
    world.wait(lambda: mounted(host) == [], 5, "a stop by hand unmounts it")
    world.apply("namespaced_service", name="web", state="absent", purge_volumes=["web-data"])
    assert processes(world, "RELEASE") == []
    assert difference(before, world.snapshot()) == {}


def test_without_a_directory_in_the_image_it_is_roots(host: Host) -> None:
    host.rootfs("web")
    host.world.cycle("namespaced_service", **options(host, "web", "r1"))
    assert told(host, "web") == {"found": {}, "wrote": "EACCES", "top": [0, 0, "0o755"]}
    host.world.cycle("namespaced_service", **options(host, "web", "r1", user="0:0", runtime="runc"))
    assert told(host, "web")["wrote"] == "done"
    assert host.world.sh(f"stat -c %u {STORE}/web-data/r1") == "0\n"


@pytest.mark.parametrize(
    ("volume", "script", "message"),
    [
        ({"source": "/srv"}, "", "a path is mounted with type: bind"),
        ({"source": "web-data"}, f"mkdir -p {STORE}/web-data", "no record tells of it"),
    ],
)
def test_bad_input_is_refused_before_any_change(
    host: Host, volume: dict[str, t.Any], script: str, message: str
) -> None:
    host.rootfs("web")
    host.world.sh(script or ":")
    assert message in host.world.refused("namespaced_service", **options(host, "web", "r1", volume=volume))
