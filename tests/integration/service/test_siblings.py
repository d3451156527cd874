# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that find each other by name."""

from __future__ import annotations

import typing as t

from services import COMMAND, Host, end_supervisor

ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode(), flush=True)"
FILE = "/var/lib/isolation/instances/{}/hosts"


def names(host: Host, name: str) -> dict[str, list[str]]:
    """Addresses by name, as a running service sees them in its file."""
    found: dict[str, list[str]] = {}
    pid = host.see(name)["pid"]
    for line in host.world.sh(f"cat /proc/{pid}/root/etc/hosts").splitlines():
        address, *words = line.split()
        for word in words:
            found.setdefault(word, []).append(address)
    return found


def asked(host: Host, name: str, url: str) -> str:
    """What a running service is answered that asks by name, from all of its namespaces."""
    service = host.see(name)
    enter = ["nsenter", "-t", str(service["pid"]), "--mount", "--net", "--root"]
    return host.world.run([*enter, "/usr/bin/python3", "-c", ASK, url], check=False).stdout.strip()


def own(service: dict[str, t.Any]) -> list[str]:
    return [service["addresses"][0]["ipv4"], service["addresses"][0]["ipv6"]]


def lines(result: dict[str, t.Any], key: str, side: str = "after") -> list[str]:
    return [line for line in result["diff"][0][side].splitlines() if line.startswith(key)]


def test_names_follow_who_comes_is_replaced_and_goes(host: Host) -> None:
    """Nothing restarts, the running one sees it at once, each change is one line of the run that causes it."""
    world = host.world
    world.apply("bridge", name="iso5", addresses=["10.75.0.1/24", "fd75::1/64"])
    on = [{"bridge": "iso5"}]
    web = host.run("web", networks=on)
    for name in ("db-1", "db-2"):
        host.rootfs(name, service="db")
    host.rootfs("other")
    aliased = [{"bridge": "iso5", "aliases": ["store", "web"]}]
    first = world.cycle("namespaced_service", **host.options("db-1", service="db", networks=aliased))
    db = own(first["service"])
    assert lines(first, "name ") == [f"name db: {', '.join(db)}", f"name store: {', '.join(db)}"]
    seen = names(host, "web")
    assert (seen["db"], seen["store"], seen["web"]) == (db, db, own(web))
    assert asked(host, "web", "http://db/") == asked(host, "web", "http://store/") == "hello world"
    assert asked(host, "db-1", "http://web/") == "hello world"
    assert host.see("web")["pid"] == web["pid"]
    assert not world.module("namespaced_service", check=True, **host.options("web", networks=on))["changed"]

    # Another project's services have no names here, nor have its own there.
    world.apply("rootfs_prepare", name="other", state="absent")
    source = {"tar": {"path": str(host.archive)}}
    files = [{"path": "/srv/probe.py", "content": world.sh("cat /var/lib/isolation/instances/web/rootfs/srv/probe.py")}]
    world.apply("rootfs_prepare", project="b", name="other", source=source, files=files)
    foreign = world.cycle("namespaced_service", **host.options("other", project="b", networks=on))
    assert lines(foreign, "name ") == []
    assert set(names(host, "other")) == {"localhost", "ip6-localhost", "ip6-loopback", "other"}
    assert "other" not in names(host, "web")

    # Aliases alone are live.
    more = [{"bridge": "iso5", "aliases": ["store", "stock"]}]
    live = world.cycle("namespaced_service", **host.options("db-1", service="db", networks=more))
    assert live["service"]["pid"] == first["service"]["pid"]
    assert lines(live, "name ") == [f"name stock: {', '.join(db)}"]
    assert names(host, "web")["stock"] == db

    # A release that never gets well leaves the name with the one that serves; a good one gets it.
    broken = [*COMMAND[:1], "-c", "raise SystemExit('this release is broken')"]
    bad = host.options("db-2", service="db", networks=more, replaces="db-1", command=broken)
    assert world.module("namespaced_service", **bad)["failed"]
    assert names(host, "web")["db"] == db
    world.wait(lambda: host.log("db-1").count("serving as") == 2, 10, "the one that was stopped meanwhile serves again")
    new = world.cycle("namespaced_service", **host.options("db-2", service="db", networks=more, replaces="db-1"))
    newer = own(new["service"])
    assert newer != db
    assert lines(new, "name db") == [f"name db: {', '.join(newer)}"]
    assert lines(new, "name db", "before") == [f"name db: {', '.join(db)}"]
    assert names(host, "web")["db"] == newer
    assert asked(host, "web", "http://db/") == "hello world"

    # By a service address, nothing of it changes with an instance any more.
    stable = {"name": "db", "mappings": [], "service_addresses": [{"address": "10.75.0.250", "to": newer[0]}]}
    published = world.cycle("nat_portmap", **stable)
    assert lines(published, "name db") == ["name db: 10.75.0.250"]
    assert names(host, "web")["db"] == ["10.75.0.250"]
    assert asked(host, "web", "http://db/") == "hello world"
    world.cycle("nat_portmap", name="db", state="absent")
    assert names(host, "web")["db"] == newer

    # What an interrupted run has left is finished at the next start, and a boot needs no run.
    end_supervisor(world)
    world.sh(
        f"cp {FILE.format('web')} {FILE.format('web')}.new; echo torn >{FILE.format('web')}; rm -rf /run/crun /run/isolation"
    )
    host.supervise()
    world.wait(lambda: host.see("web")["pid"] and host.see("db-2")["pid"], 20, "they are back")
    assert names(host, "web")["db"] == newer
    assert not world.module("namespaced_service", check=True, **host.options("web", networks=on))["changed"]

    pid = host.see("web")["pid"]
    gone = world.cycle("namespaced_service", name="db-1", state="absent")
    assert lines(gone, "name ", "before") == []
    gone = world.cycle("namespaced_service", name="db-2", state="absent")
    assert [line.split(":")[0] for line in lines(gone, "name ", "before")] == ["name db", "name stock", "name store"]
    assert set(names(host, "web")) == {"localhost", "ip6-localhost", "ip6-loopback", "web"}
    assert host.see("web")["pid"] == pid


def test_two_that_start_together_know_each_other_from_the_start(host: Host) -> None:
    for name in ("one", "two"):
        host.rootfs(name)
    ask = "import socket, time; print('found', socket.gethostbyname({!r}), flush=True); time.sleep(1000)"
    elements = [
        {**host.options(name), "health": None, "command": ["/usr/bin/python3", "-c", ask.format(other)]}
        for name, other in (("one", "two"), ("two", "one"))
    ]
    done = host.world.cycle("namespaced_service", aggregate=elements)
    results = {entry["name"]: entry["service"] for entry in done["results"]}
    for name, other in (("one", "two"), ("two", "one")):
        assert f"found {own(results[other])[0]}" in host.log(name)


def test_who_waits_for_another_that_is_replaced_by_the_same_task_finds_it_by_name(host: Host) -> None:
    """A database and what asks it get new releases at once: the one is well only when it finds the other's new instance."""
    world = host.world
    world.apply("bridge", name="iso5", addresses=["10.75.0.1/24"])
    on: dict[str, t.Any] = {"networks": [{"bridge": "iso5"}]}
    host.run("db-1", service="db", **on)
    for name, service in (("db-2", "db"), ("web-1", "web")):
        host.rootfs(name, service=service)
    reach = "import socket; socket.create_connection(('db', 80), timeout=1)"
    web = host.options(
        "web-1", service="web", requires=["db"], health={"exec": {"command": ["/usr/bin/python3", "-c", reach]}}, **on
    )
    both = world.apply("namespaced_service", aggregate=[web, host.options("db-2", service="db", replaces="db-1", **on)])
    asks, asked_for = (entry["service"] for entry in both["results"])
    assert names(host, "web-1")["db"] == own(asked_for)[:1]
    assert asks["state"] == "started"
