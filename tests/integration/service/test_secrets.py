# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets: who can read them, where they are not, and what a new value does."""

from __future__ import annotations

import hashlib
import json
import typing as t

from services import Host, end_supervisor
from world import difference

MEMORY = "/run/isolation/secrets"
STORE = "/var/lib/isolation/secrets"
CANARY = "Canary-4711-of-secrets"
ROTATED = "Rotated-4712-of-secrets"

# Tells of each secret what it is and whose, but not its value, whenever that is not what it was.
PROGRAM = """
import errno, hashlib, json, os, time
def look(name):
    path = "/run/secrets/" + name
    seen = os.stat(path)
    with open(path, "rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    try:
        os.chmod(path, 0o600)
        wrote = "done"
    except OSError as error:
        wrote = errno.errorcode[error.errno]
    return [digest, seen.st_uid, seen.st_gid, oct(seen.st_mode & 0o7777), wrote]
last = None
while True:
    found = {name: look(name) for name in sorted(os.listdir("/run/secrets")) if name[0] != "."}
    if found != last:
        print(json.dumps({"pid": os.getpid(), "secrets": found}), flush=True)
    last = found
    time.sleep(0.05)
"""


def digest(value: str | bytes) -> str:
    return hashlib.sha256(value if isinstance(value, bytes) else value.encode()).hexdigest()


def options(host: Host, name: str = "web", **given: t.Any) -> dict[str, t.Any]:
    """A service without networks that reads its secrets as user 1000."""
    wanted = {
        "command": ["/usr/bin/python3", "-c", PROGRAM], "user": "1000:1001", "networks": [], "health": None,
        "gate": {"min_healthy_time": "300ms"}, "secrets": [{"name": "db_password"}],
        "secret_values": {"db_password": CANARY}, **given,
    }  # fmt: skip
    return host.options(name, **wanted)


def told(host: Host, name: str = "web") -> dict[str, t.Any]:
    """What the program said last of its secrets."""
    lines = [line for line in host.log(name).splitlines() if '"secrets"' in line]
    return json.loads(lines[-1].partition(" ")[2])["secrets"]  # type: ignore[no-any-return]


def sees(host: Host, value: str | bytes, secret: str = "db_password", name: str = "web") -> None:
    """Wait until the program has read a value."""
    host.world.wait(lambda: told(host, name)[secret][0] == digest(value), 10, "the service reads the value")


def lines(result: dict[str, t.Any], side: str = "after") -> list[str]:
    return [line for diff in result["diff"] for line in diff[side].splitlines() if not line.startswith("effect: ")]


def pid(host: Host, name: str = "web") -> int:
    return host.see(name)["pid"]  # type: ignore[no-any-return]


def test_a_secret_is_a_file_for_its_service_alone(host: Host) -> None:
    world = host.world
    clean = world.snapshot()
    place = {"path": "/run/secrets", "state": "directory"}
    host.rootfs("web", files=[place])
    prepared = world.snapshot()
    secrets = [
        {"name": "db_password"},
        {
            "name": "tls.key",
            "target": "/run/secrets/key",
            "user": "0",
            "group": "1001",
            "mode": "0440",
            "encoding": "base64",
        },
    ]
    values = {"web/db_password": CANARY, "db_password": "of another service", "tls.key": "AAEC/wAKAGtleQ=="}
    refused = world.refused(
        "namespaced_service", **options(host, secrets=secrets, secret_values={**values, "other": CANARY})
    )
    assert "secret_values: other: no service of this task has a secret of that name" in refused
    wanted = options(host, secrets=secrets, secret_values=values)
    first = world.cycle("namespaced_service", **wanted)
    assert "secret db_password: set" in lines(first)
    assert "secrets: db_password, tls.key as key of 0:1001 0440" in lines(first)
    sees(host, CANARY)
    assert told(host) == {
        "db_password": [digest(CANARY), 1000, 1001, "0o400", "EROFS"],
        "key": [digest(b"\x00\x01\x02\xff\x00\n\x00key"), 0, 1001, "0o440", "EROFS"],
    }
    base = first["service"]["id_base"]
    assert world.sh(f"stat -c '%n %u %g %a' {MEMORY} {MEMORY}/web {MEMORY}/web/*").splitlines() == [
        f"{MEMORY} 0 0 700", f"{MEMORY}/web 0 0 755", f"{MEMORY}/web/db_password {base + 1000} {base + 1001} 400",
        f"{MEMORY}/web/key {base} {base + 1001} 440",
    ]  # fmt: skip
    assert world.sh(f"stat -c '%n %u %g %a' {STORE} {STORE}/web {STORE}/web/*").splitlines() == [
        f"{STORE} 0 0 700", f"{STORE}/web 0 0 700", f"{STORE}/web/plain.db_password 0 0 600", f"{STORE}/web/plain.tls.key 0 0 600",
    ]  # fmt: skip
    inside = world.sh(f"grep ' /run/secrets ' /proc/{first['service']['pid']}/mountinfo").split()
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(inside[5].split(","))
    assert inside[inside.index("-") + 1] == "tmpfs"
    assert host.see("web")["secrets"] == [
        {"name": "db_password", "present": True, "kept": "plain"},
        {"name": "tls.key", "present": True, "kept": "plain"},
    ]

    # Without values, what is there is kept; a service that has none is refused.
    kept = {key: value for key, value in wanted.items() if key != "secret_values"}
    assert world.cycle("namespaced_service", **kept)["diff"] == []
    more = world.refused("namespaced_service", **{**kept, "secrets": [*secrets, {"name": "new"}]})
    assert "secret new: this host has no value of it" in more

    less = world.cycle("namespaced_service", **{**kept, "secrets": secrets[:1]})
    assert "secret tls.key" in str(lines(less, "before"))
    world.wait(lambda: list(told(host)) == ["db_password"], 5, "the other one is gone")
    assert world.sh(f"ls {MEMORY}/web {STORE}/web").split() == [
        f"{MEMORY}/web:",
        "db_password",
        f"{STORE}/web:",
        "plain.db_password",
    ]

    world.cycle("namespaced_service", name="web", state="absent")
    assert difference(prepared, world.snapshot()) == {}
    assert MEMORY not in world.sh("cat /proc/self/mountinfo; find /run/isolation")
    world.apply("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert difference(clean, world.snapshot()) == {}


def test_what_a_new_value_does(host: Host) -> None:
    """A restart, or nothing but the new value; what is not asked for is not done."""
    world = host.world
    host.rootfs("web")
    world.apply("namespaced_service", **options(host))
    sees(host, CANARY)
    first = pid(host)
    changed = world.cycle("namespaced_service", **options(host, secret_values={"db_password": ROTATED}))
    assert (lines(changed, "before"), lines(changed)) == (["secret db_password: set"], ["secret db_password: changed"])
    sees(host, ROTATED)
    second = pid(host)
    assert second != first
    assert world.sh(f"cat {MEMORY}/web/db_password {STORE}/web/plain.db_password") == ROTATED * 2

    # What changes of the secret but the file itself does so live.
    alive: dict[str, t.Any] = {"secrets": [{"name": "db_password", "on_change": "none", "persist": False}]}
    live = world.cycle("namespaced_service", **options(host, **alive, secret_values={"db_password": ROTATED}))
    assert lines(live) == ["secrets: db_password on_change=none in memory only"]
    assert lines(live, "before") == ["secrets: db_password", "secret db_password kept: for root only"]
    assert STORE not in world.sh("find /var/lib/isolation -maxdepth 1")
    rotated = world.cycle("namespaced_service", **options(host, **alive, secret_values={"db_password": CANARY}))
    assert lines(rotated) == ["secret db_password: changed"]
    sees(host, CANARY)
    assert pid(host) == second
    other = world.cycle("namespaced_service", **options(host, secrets=[{"name": "db_password", "mode": "0440"}]))
    assert "secrets: db_password 0440" in lines(other)
    assert pid(host) != second

    # Told by a signal, once, with the value in place.
    asked: dict[str, t.Any] = {"secrets": [{"name": "db_password", "on_change": "reload"}]}
    needed = world.refused("namespaced_service", **options(host, **asked))
    assert "reload_signal: needed with on_change: reload" in needed
    handler = "import signal; signal.signal(1, lambda *_: print('got', open('/run/secrets/db_password').read()[:3], flush=True))"
    asked.update(reload_signal="HUP", command=["/usr/bin/python3", "-c", handler + PROGRAM])
    world.cycle("namespaced_service", **options(host, **asked))
    again = pid(host)
    told_so = world.cycle("namespaced_service", **options(host, **asked, secret_values={"db_password": ROTATED}))
    assert lines(told_so) == ["secret db_password: changed"]
    sees(host, ROTATED)
    world.wait(lambda: "got Rot" in host.log("web"), 5, "it was told")
    assert (pid(host), host.log("web").count("got ")) == (again, 1)
    world.cycle("namespaced_service", **options(host, secrets=[{"name": "db_password", "mode": "0440"}]))

    # What somebody has changed on the host comes back without a restart.
    third = pid(host)
    world.sh(
        f"chmod 0444 {MEMORY}/web/db_password; rm {STORE}/web/plain.db_password; touch {STORE}/web/plain.old {MEMORY}/web/x"
    )
    mended = world.cycle("namespaced_service", **options(host, secrets=[{"name": "db_password", "mode": "0440"}]))
    assert [line.partition(":")[0] for line in lines(mended)] == ["secret db_password file", "secret db_password kept"]
    assert {"secret old: set", "secret x: set"} <= set(lines(mended, "before"))
    assert pid(host) == third


def test_a_boot_brings_it_back_without_ansible(host: Host) -> None:
    world = host.world
    host.rootfs("web")
    host.rootfs("memory")
    wanted = options(host)
    fleeting = options(host, "memory", secrets=[{"name": "db_password", "persist": False}])
    assert "readable by root only" in str(world.apply("namespaced_service", **wanted)["warnings"])
    assert "readable by root only" not in str(world.apply("namespaced_service", **wanted))
    world.apply("namespaced_service", **fleeting)
    end_supervisor(world)
    world.sh(f"umount {MEMORY}; rm -rf /run/isolation /run/crun")
    host.supervise()
    world.wait(lambda: host.see("web")["pid"], 15, "it is back after a boot")
    sees(host, CANARY)
    assert world.module("namespaced_service", check=True, **wanted)["diff"] == []

    message = (
        "service memory is not started: the value of secret db_password is gone, it was in memory only (persist: false)"
    )
    world.wait(lambda: message in host.log("memory"), 15, "it says what it lacks")
    told_of = host.see("memory")
    assert (told_of["state"], told_of["secrets"]) == (
        "failing",
        [{"name": "db_password", "present": False, "kept": None}],
    )
    for check in (True, False):
        refused = world.module("namespaced_service", check=check, **{**fleeting, "secret_values": None})
        assert "secret db_password: this host has no value of it" in refused["msg"]
    back = world.apply("namespaced_service", **fleeting)
    assert "secret db_password: set" in lines(back)
    sees(host, CANARY, name="memory")

    # Stopped, and then started by hand after a boot; a new value finds what was kept.
    world.cycle("namespaced_service", **options(host, state="stopped"))
    world.sh(f"rm -rf {MEMORY}/web")
    assert world.module("namespaced_service", check=True, **{**wanted, "state": "stopped"})["diff"] == []
    started = world.cycle("namespaced_service", **options(host, secret_values={"db_password": ROTATED}))
    assert {"secret db_password: changed", "state: started"} <= set(lines(started))
    sees(host, ROTATED)


def test_releases_have_values_of_their_own(host: Host) -> None:
    """A release that is replaced can be started again without any value from outside; many elements share one option."""
    world = host.world
    for name in ("web-1", "web-2", "other"):
        host.rootfs(name, service=name[:3] if name != "other" else name)
    world.apply("namespaced_service", **options(host, "web-1", service="web"))
    values = {"web-2/db_password": ROTATED, "db_password": CANARY}
    two = options(host, "web-2", service="web", replaces="web-1", secret_values=None)
    other = options(host, "other", secret_values=None)
    beside = {
        key: two.pop(key) for key in ("command", "secrets", "networks", "user", "gate", "health", "secret_values")
    }
    elements = [two, {key: other[key] for key in two if key in other and key not in ("service", "replaces")}]
    beside.update(secret_values=values, health=None)
    world.cycle("namespaced_service", aggregate=elements, **{key: value for key, value in beside.items() if value})
    sees(host, ROTATED, name="web-2")
    sees(host, CANARY, name="other")
    back = options(host, "web-1", service="web", replaces="web-2", secret_values=None)
    world.cycle("namespaced_service", **back)
    sees(host, CANARY, name="web-1")
    assert host.see("web-2")["state"] == "stopped"
    for name in ("web-1", "web-2"):
        world.apply("namespaced_service", name=name, state="absent")
    assert world.sh(f"ls {MEMORY} {STORE}").split() == [f"{MEMORY}:", "other", f"{STORE}:", "other"]
    assert world.sh(f"cat {MEMORY}/other/db_password") == CANARY


def test_bad_input_is_refused_before_any_change(host: Host) -> None:
    world = host.world
    host.rootfs("web", mode="read_only", files=[])
    run = [{"target": "/run", "size": "1M"}]
    for given, message in BAD:
        refused = world.refused("namespaced_service", **{**options(host), **({"tmpfs": run} if given else {}), **given})
        assert message in refused
        assert CANARY not in refused
    world.apply("namespaced_service", **options(host, tmpfs=run))
    sees(host, CANARY)


BAD: list[tuple[dict[str, t.Any], str]] = [
    ({}, "the root filesystem is read-only and has no directory /run/secrets"),
    (
        {"environment": {"DB_PASSWORD": CANARY}},
        "web: environment: DB_PASSWORD: has the value of secret db_password in it",
    ),
    ({"args": ["--password=" + CANARY]}, "web: args: has the value of secret db_password in it"),
    ({"secret_values": {"db_password": "qz7"}}, "secret_values: db_password: too short or too common"),
    ({"secret_values": {"db_password": "isolation"}}, "too short or too common"),
    ({"secret_values": {"db_password": ["q#z"]}}, "secret_values: db_password: must be a text"),
    ({"secret_values": None}, "secret db_password: this host has no value of it"),
    ({"secrets": [{"name": "db_password", "user": "nobody2"}]}, "'nobody2'"),
    ({"secrets": [{"name": "db_password", "encoding": "base64"}]}, "is not base64"),
]
