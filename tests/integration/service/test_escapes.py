# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways out of a service that others have had: tried from inside, with something outside that would show a success."""

from __future__ import annotations

import json
import typing as t

from services import Host

TRY = """
import errno, json, os, subprocess, sys, time
def attempt(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
found = {
    "overwrite": {path: attempt(path, os.O_WRONLY) for path in ("/proc/1/exe", "/dev/init")},
    "read": {path: attempt(path, os.O_RDONLY) for path in ("/data/private", "/data/public") if os.path.exists("/data")},
    "canary": subprocess.run(["/srv/canary", "-c", "import os; print(os.geteuid())"], capture_output=True, text=True).stdout
    if os.path.exists("/srv/canary") else None,
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")],
}
print("found " + json.dumps(found), flush=True)
time.sleep(600)
"""


def _attempts(host: Host, name: str, **options: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Start a service that tries, and return its result and what came of the attempts."""
    command = ["/usr/bin/python3", "-c", TRY]
    service = host.run(name, command=command, networks=[], health=None, **options)
    lines = host.world.wait(lambda: [line for line in host.log(name).splitlines() if "found {" in line], 10, "attempts")
    return service, json.loads(lines[-1].partition("found ")[2])


def test_programs_of_the_host_cannot_be_overwritten(host: Host) -> None:
    """T1: root inside opens the init, a program of the host, by the links that the kernel has of it; nor does a restart help."""
    look = "sha256sum $(readlink -f $(command -v crun)) $(readlink -f $(command -v catatonit || command -v tini))"
    before = host.world.sh(look)
    service, found = _attempts(host, "web")
    assert set(found["overwrite"].values()) <= {"EROFS", "EACCES", "EPERM", "ETXTBSY"}, found
    host.world.run(["kill", "-9", str(service["pid"])])
    host.world.wait(lambda: host.log("web").count("found {") == 2, 10, "it has tried again")
    assert host.world.sh(look) == before


def test_dev_as_a_link_leads_nowhere(host: Host) -> None:
    """T4: a root filesystem whose /dev leads elsewhere is refused, and nothing is laid there."""
    world = host.world
    host.rootfs("web")
    root = "/var/lib/isolation/instances/web/rootfs"
    world.sh(f"mkdir /run/elsewhere; touch /run/elsewhere/canary; rm -rf {root}/dev; ln -s /run/elsewhere {root}/dev")
    message = world.refused("namespaced_service", **host.options("web"))
    assert "/dev" in message
    assert world.sh("ls /run/elsewhere") == "canary\n"


def test_root_inside_is_nobody_outside(host: Host) -> None:
    """T9: ids of services are disjoint, and root inside can't read what only root may read outside."""
    world = host.world
    world.sh("mkdir /run/data; echo x >/run/data/private; echo x >/run/data/public; chmod 600 /run/data/private")
    mounts = [{"source": "/run/data", "target": "/data"}]
    bases = []
    for name in ("one", "two"):
        service, found = _attempts(host, name, mounts=mounts)
        assert found["read"] == {"/data/private": "EACCES", "/data/public": "done"}
        maps = world.sh(f"cat /proc/{service['pid']}/uid_map /proc/{service['pid']}/gid_map").split()
        assert maps == ["0", str(service["id_base"]), "65536"] * 2
        bases.append(service["id_base"])
    assert abs(bases[0] - bases[1]) >= 65536


def test_a_setuid_program_gives_nothing(host: Host) -> None:
    """T10: a program that is root's and setuid runs with the ids and the empty sets of whoever starts it."""
    world = host.world
    host.rootfs("web")
    root = "/var/lib/isolation/instances/web/rootfs"
    world.sh(
        f"cp $(readlink -f {root}/usr/bin/python3 | sed 's#^/usr#{root}/usr#; s#^{root}{root}#{root}#') {root}/srv/canary;"
        f" chown $(stat -c %u:%g {root}) {root}/srv/canary; chmod 4755 {root}/srv/canary"
    )
    service, found = _attempts(host, "web", user="1000:1000")
    assert world.sh(f"stat -c %a /proc/{service['pid']}/root/srv/canary") == "4755\n"
    assert found["canary"] == "1000\n"
    assert {int(value, 16) for value in found["capabilities"]} == {0}
