# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single files of the host in a service."""

from __future__ import annotations

import typing as t

import pytest
from services import Host

TELL = """
import os, time
def attempt(what, *given):
    try:
        what(*given)
    except OSError as error:
        return error.strerror
    return "yes"
for name in ("kept", "open"):
    print(name, open("/srv/" + name).read().strip(), attempt(open, "/srv/" + name, "a"), attempt(os.execv, "/srv/" + name, ["it"]), sep=": ")
print("end", flush=True)
time.sleep(600)
"""


def quiet(*mounts: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"name": "web", "rootfs": "web", "command": ["/usr/bin/python3", "-B", "-c", TELL], "mounts": list(mounts)}


def test_single_files(host: Host) -> None:
    world = host.world
    world.sh("echo one >/run/one; echo two >/run/two; chmod 777 /run/one /run/two")
    host.rootfs("web")
    kept = {"source": "/run/one", "target": "/srv/kept", "read_only": True, "exec": False}
    world.cycle("namespaced_service", **quiet(kept, {"source": "/run/two", "target": "/srv/open"}))
    log = world.wait(lambda: host.log("web") if "end" in host.log("web") else "", 5, "it tells")
    assert "kept: one: Read-only file system: Permission denied" in log
    assert "open: two: yes: Exec format error" in log
    answer = world.refused("namespaced_service", **quiet({**kept, "read_only": False}))
    assert "web: mounts: source: /run/one is a single file, which can't be mounted without exec" in answer, answer


def idle(*mounts: dict[str, t.Any], **given: t.Any) -> dict[str, t.Any]:
    command = ["/usr/bin/python3", "-c", "import time; time.sleep(1000)"]
    return {"name": "web", "rootfs": "web", "command": command, "mounts": list(mounts), **given}


def there(host: Host, path: str) -> bool:
    """Whether the service sees a file."""
    return host.world.run(["test", "-e", f"/proc/{host.see('web')['pid']}/root{path}"], check=False).returncode == 0


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_mounts_that_come_later(host: Host, runtime: str) -> None:
    """They are seen with rslave, not by default. What is there at the start is not seen with crun 1.8; without rslave, runc
    does not start a service with a source that has mounts below.
    """
    world = host.world
    world.sh("mkdir /run/media; mount -t tmpfs media /run/media; mount --make-shared /run/media")
    world.sh(
        "mkdir /run/media/early /run/media/late; mount -t tmpfs none /run/media/early; touch /run/media/early/file"
    )
    host.rootfs("web")
    follows = {"source": "/run/media", "target": "/srv/media", "propagation": "rslave", "read_only": True}
    apart = [{"source": "/run/media", "target": "/srv/apart"}] if runtime == "crun" else []
    wanted = idle(follows, *apart, runtime=runtime, runtime_policy="warn")
    done = world.cycle("namespaced_service", **wanted)
    assert "/run/media on /srv/media read-only rslave" in done["diff"][0]["after"]
    world.sh("mount -t tmpfs none /run/media/late; touch /run/media/late/file")
    assert there(host, "/srv/media/late/file")
    assert runtime == "crun" or there(host, "/srv/media/early/file")
    assert not there(host, "/srv/apart/late/file")
    propagation = world.sh(f"grep ' /srv/[am]' /proc/{done['service']['pid']}/mountinfo")
    assert "shared:" not in propagation
    world.sh("umount /run/media/late")
    assert not there(host, "/srv/media/late/file")


def test_propagation_that_can_not_be(host: Host) -> None:
    world = host.world
    world.sh("mkdir /run/media; touch /run/one")
    host.rootfs("web")
    media = {"source": "/run/media", "target": "/srv/media"}
    volume = {"type": "volume", "source": "data", "target": "/srv/data", "propagation": "rslave"}
    for mount, message in (
        ({**media, "propagation": "rshared"}, "rshared: what a service mounts would appear on the host"),
        ({**media, "propagation": "slave"}, "'slave' is none of private and rslave"),
        ({**media, "propagation": "rslave"}, "lies on a mount of the host that passes no mounts on: make it shared"),
        ({**media, "source": "/run/one", "propagation": "rslave"}, "/run/one is a single file"),
        (volume, "a volume is a mount of its service's own"),
    ):
        answer = world.refused("namespaced_service", **idle(mount))
        assert f"mounts: propagation: {message}" in answer or f"rslave: {message}" in answer or message in answer, (
            answer
        )


def test_links_on_the_way(host: Host) -> None:
    """Root's own are followed; others are refused, and one that is made later keeps a start from being made."""
    world = host.world
    world.sh(
        "mkdir -p /run/real/data /run/app/data; ln -s /run/real /run/link; chown 1000 /run/app; ln -s /etc /run/app/link"
    )
    host.rootfs("web")
    data = {"source": "/run/link/data", "target": "/srv/data"}
    first = world.cycle("namespaced_service", **idle(data))["service"]
    assert "/real/data /srv/data " in world.sh(f"cat /proc/{first['pid']}/mountinfo")
    for source, leads in (("/run/app/link", "/etc"), ("/run/app/link/default", "/etc/default")):
        answer = world.refused("namespaced_service", **idle({**data, "source": source}))
        assert f"source: {source} leads through the symbolic link /run/app/link, which others" in answer, answer
        assert f": give {leads}, or let the link" in answer

    wanted = idle({**data, "source": "/run/app/data"}, restart={"delay": "100ms", "max_delay": "1s"})
    service = world.cycle("namespaced_service", **wanted)["service"]
    world.sh(f"rmdir /run/app/data; ln -s /etc /run/app/data; kill -9 {service['pid']}")
    world.wait(lambda: "/run/app/data leads through the symbolic link" in host.log("web"), 20, "it says why")
    assert host.see("web")["state"] == "failing"
    world.sh("rm /run/app/data; mkdir /run/app/data")
    world.wait(lambda: host.see("web")["state"] == "started", 20, "it runs again")


def test_targets_that_can_not_be_made(host: Host) -> None:
    """Where nothing can be made, what is missing is refused; where something is, or can be, it is not."""
    world = host.world
    world.sh("mkdir -p /run/outer/there /run/inner")
    files = [{"path": "/data", "state": "directory"}]
    host.rootfs("web", mode="read_only", files=files)
    inner = {"source": "/run/inner"}
    for mount in ({**inner, "target": "/none"}, {"type": "volume", "source": "data", "target": "/none"}):
        answer = world.refused("namespaced_service", **idle(mount))
        assert "service web: mounts: target: /none is not there in the root filesystem, which is read-only" in answer, (
            answer
        )
    answer = world.refused("namespaced_service", **idle(tmpfs=[{"target": "/none"}]))
    assert "service web: tmpfs: target: /none is not there" in answer, answer
    outer = {"source": "/run/outer", "target": "/data", "read_only": True}
    answer = world.refused("namespaced_service", **idle(outer, {**inner, "target": "/data/none"}))
    assert (
        "target: /data/none lies in /data, which is mounted read-only and has nothing there: make it in the directory of"
        in answer
    )
    done = world.cycle("namespaced_service", **idle(outer, {**inner, "target": "/data/there"}))
    assert " /data/there " in world.sh(f"cat /proc/{done['service']['pid']}/mountinfo")
    changed = world.cycle(
        "namespaced_service", **idle({**inner, "target": "/data/made/deep"}, tmpfs=[{"target": "/data"}])
    )
    assert " /data/made/deep " in world.sh(f"cat /proc/{changed['service']['pid']}/mountinfo")
