# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `bridge` on the real kernel."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import pytest
from world import REPOSITORY, World, difference

ISO0: dict[str, t.Any] = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"]}


def link(world: World, name: str) -> dict[str, t.Any]:
    """A link as iproute2 shows it."""
    return json.loads(world.run(["ip", "-j", "-d", "address", "show", "dev", name]).stdout)[0]  # type: ignore[no-any-return]


def keys(result: dict[str, t.Any]) -> set[str]:
    """The keys of the lines of the first diff."""
    diff = result["diff"][0]
    return {line.split(": ")[0] for side in ("before", "after") for line in diff[side].splitlines()}


def read(world: World, path: str) -> str:
    return world.run(["cat", path]).stdout.strip()


def test_life(world: World) -> None:
    """It is made, found unchanged, changed in place, and leaves nothing."""
    clean = world.snapshot()
    made = world.cycle("bridge", **ISO0)
    assert made["changed"]
    shown = made["bridge"]
    assert shown["addresses"] == ISO0["addresses"]
    assert (shown["mtu"], shown["mode"], shown["ports"]) == (1500, "nat", [])
    seen = link(world, "iso0")
    assert seen["address"] == shown["mac"]
    assert "UP" in seen["flags"]
    assert read(world, "/proc/sys/net/ipv4/ip_forward") == "1"
    assert read(world, "/proc/sys/net/ipv6/conf/all/forwarding") == "1"
    assert read(world, "/proc/sys/net/ipv6/conf/iso0/accept_ra") == "0"
    assert read(world, "/proc/sys/net/ipv4/conf/iso0/route_localnet") == "1"

    changed = world.cycle(
        "bridge", name="iso0", addresses=["10.88.0.1/24", "10.99.0.1/24"], mtu=1400, mode="internal", stp=True
    )
    assert {"addresses", "mtu", "mode", "stp", "nft out-iso0", "nft guard-iso0"} <= keys(changed)
    assert link(world, "iso0")["ifindex"] == seen["ifindex"]
    assert read(world, "/proc/sys/net/ipv6/conf/all/forwarding") == "0"

    gone = world.cycle("bridge", name="iso0", state="absent")
    assert gone["bridge"] == {"name": "iso0", "state": "absent"}
    assert difference(clean, world.snapshot()) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft delete rule inet isolation_bridge input-iso0 handle $(nft -a list chain inet isolation_bridge input-iso0 | sed -n 's/.*drop # handle //p')",
        "nft insert rule inet isolation_bridge forward accept",
        "ip link del iso0",
        "ip link set iso0 down",
        "ip addr flush dev iso0 scope global",
        "ip addr add 10.77.0.1/24 dev iso0",
        "ip link set iso0 mtu 1300 address 02:00:00:00:00:99 group 0",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.conf.iso0.route_localnet=0 net.ipv6.conf.iso0.accept_ra=1",
        "rm -r /etc/isolation/bridge.d/iso0.ip",
        "rm -r /etc/isolation/bridge.nft /etc/isolation/boot.d /usr/local/libexec/isolation",
    ],
)
def test_drift(world: World, damage: str) -> None:
    """Whatever was taken away is seen in check mode and brought back."""
    world.apply("bridge", **ISO0)
    good = world.snapshot()
    world.sh(damage)
    assert world.cycle("bridge", **ISO0)["changed"]
    found = difference(good, world.snapshot())
    for kind in ("routes", "routes6"):  # the kernel adds this one with an address, if the link is up by then
        found.get(kind, {"new": []})["new"] = [
            line for line in found.get(kind, {"new": []})["new"] if "ff00::/8" not in line
        ]
    assert {kind: lines for kind, lines in found.items() if lines["gone"] or lines["new"]} == {}


def test_many(world: World) -> None:
    """Two bridges in one task; rules of a third are only the table's business."""
    clean = world.snapshot()
    elements = [ISO0, {"name": "iso1", "addresses": ["10.89.0.1/24"], "mode": "routed", "allow_bridges": ["iso0"]}]
    done = world.cycle("bridge", aggregate=elements)
    assert [entry["name"] for entry in done["results"]] == ["iso0", "iso1"]
    third = world.cycle(
        "bridge", name="iso2", addresses=["10.90.0.1/24"], mode="internal", service_to_host=["udp/53", "tcp/8000-8010"]
    )
    assert third["changed"]
    names = ["iso0", "iso1", "iso2"]
    assert not world.cycle("bridge", aggregate=elements)["changed"]
    gone = world.cycle("bridge", state="absent", aggregate=[{"name": name} for name in names])
    assert [entry["changed"] for entry in gone["results"]] == [True] * 3
    assert difference(clean, world.snapshot()) == {}


def test_settings_given_back(world: World) -> None:
    """What forwarding had been, for the host and for single links, is there again after the last bridge."""
    world.sh(
        "sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.lan0.forwarding=1 net.ipv6.conf.lan0.forwarding=1"
    )
    clean = world.snapshot()
    world.cycle("bridge", **ISO0)
    world.cycle("bridge", name="iso1", addresses=["10.89.0.1/24"])
    world.cycle("bridge", name="iso0", state="absent")
    assert read(world, "/proc/sys/net/ipv4/ip_forward") == "1"
    assert read(world, "/proc/sys/net/ipv6/conf/all/forwarding") == "0"
    world.cycle("bridge", name="iso1", state="absent")
    assert difference(clean, world.snapshot()) == {}
    assert read(world, "/proc/sys/net/ipv4/conf/lan0/forwarding") == "1"
    assert read(world, "/proc/sys/net/ipv6/conf/lan0/forwarding") == "1"


def test_foreign_forwarding_stays(world: World) -> None:
    """Forwarding that was on before stays on."""
    world.sh("sysctl -qw net.ipv4.ip_forward=1")
    clean = world.snapshot()
    world.cycle("bridge", **ISO0)
    world.cycle("bridge", name="iso0", state="absent")
    assert difference(clean, world.snapshot()) == {}
    assert read(world, "/proc/sys/net/ipv4/ip_forward") == "1"


def test_router_advertisements(world: World) -> None:
    """A default route that routers announced survives, and the uplink's setting is given back."""
    world.sh("ip -6 route del default; ip -6 route add default via fe80::1 dev lan0 proto ra")
    world.apply("bridge", **ISO0)
    assert read(world, "/proc/sys/net/ipv6/conf/lan0/accept_ra") == "2"
    assert "net/ipv6/conf/lan0/accept_ra = 2" in read(world, "/etc/isolation/bridge.d/_host.sysctl")
    assert "proto ra" in world.run(["ip", "-6", "route", "show", "default"]).stdout
    world.apply("bridge", name="iso0", state="absent")
    assert read(world, "/proc/sys/net/ipv6/conf/lan0/accept_ra") == "1"
    assert "proto ra" in world.run(["ip", "-6", "route", "show", "default"]).stdout


def test_host_ports(world: World) -> None:
    """Links of the host join and leave; a bridge with links of others is not removed unless forced."""
    world.sh(
        "ip link add nic0 type veth peer name nic0p; ip link add svc0 type veth peer name svc0p; ip link set nic0 up"
    )
    clean = world.snapshot()
    made = world.cycle("bridge", **ISO0, ports=["nic0"])
    assert made["bridge"]["ports"] == ["nic0"]
    assert link(world, "nic0")["master"] == "iso0"
    world.sh("ip link set svc0 master iso0")
    left = world.cycle("bridge", **ISO0)
    assert left["bridge"]["ports"] == ["svc0"]
    assert "svc0" in world.refused("bridge", name="iso0", state="absent")
    assert world.apply("bridge", name="iso0", state="absent", force=True)["changed"]
    assert difference(clean, world.snapshot()) == {}


def test_boot(world: World) -> None:
    """After a reboot, which takes the links and the tables, the boot helper brings all of it back."""
    world.sh("ip link add nic0 type veth peer name nic0p")
    args = {**ISO0, "ports": ["nic0"], "mtu": 1400, "service_to_host": ["udp/53"]}
    world.apply("bridge", **args)
    good = world.snapshot()
    world.sh("ip link del iso0; nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    world.run(["/usr/local/libexec/isolation/boot"])
    assert world.run(["ip", "link", "show", "iso0"], check=False).returncode != 0  # once per boot
    world.sh("rm /run/isolation/booted; /usr/local/libexec/isolation/boot; /usr/local/libexec/isolation/boot again")
    assert difference(good, world.snapshot()) == {}
    checked = world.module("bridge", check=True, **args)
    assert not checked["changed"], checked["diff"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"name": "iso0", "addresses": ["198.51.100.129/25"]}, ["198.51.100", "lan0"]),
        ({"name": "iso0", "addresses": ["198.51.0.1/16"]}, ["198.51.100", "lan0"]),
        ({"name": "iso0", "addresses": ["2001:db8::1/32"]}, ["2001:db8:1::", "lan0"]),
        ({"name": "iso0", "addresses": ["10.88.0.0/24"]}, ["10.88.0.1/24"]),
        ({"name": "iso0", "addresses": ["10.88.0.1"]}, ["prefix"]),
        ({"name": "iso0", "addresses": ["127.1.0.1/16"]}, ["loopback"]),
        ({"name": "lan0", "addresses": ["10.88.0.1/24"]}, ["lan0", "not ours"]),
        ({"name": "a-very-long-name", "addresses": []}, ["15"]),
        ({"name": "all", "addresses": []}, ["all"]),
        ({**ISO0, "ports": ["nic9"]}, ["nic9"]),
        ({**ISO0, "allow_bridges": ["iso9"]}, ["iso9"]),
        ({**ISO0, "service_to_host": ["http"]}, ["udp/53"]),
        ({**ISO0, "mtu": 1000}, ["1280"]),
        ({**ISO0, "mac": "01:00:00:00:00:01"}, ["unicast"]),
        ({**ISO0, "forward_delay": "1m"}, ["30s"]),
        ({"aggregate": [ISO0, {"name": "iso1", "addresses": ["10.88.0.129/25"]}]}, ["iso0", "iso1"]),
    ],
)
def test_refusals(world: World, args: dict[str, t.Any], words: list[str]) -> None:
    """Bad input is refused, by name, before anything is changed."""
    message = world.refused("bridge", **args)
    for word in words:
        assert word in message


def test_foreign_project(world: World) -> None:
    """What belongs to another project is refused."""
    world.apply("bridge", **ISO0, project="one")
    assert "'one'" in world.refused("bridge", **ISO0, project="two")
    assert "'one'" in world.refused("bridge", name="iso0", state="absent", project="two")


def test_other_managers(world: World) -> None:
    """A host that has NetworkManager is told which links are not its own, and a lost file is brought back. It does not run here."""
    dropin = "/etc/NetworkManager/conf.d/90-isolation.conf"
    world.sh("ip link add nic0 type veth peer name nic0p")
    world.sh("mkdir -p /etc/NetworkManager/conf.d; printf '#!/bin/sh\n' >/usr/local/sbin/NetworkManager")
    world.sh("chmod +x /usr/local/sbin/NetworkManager; ip link set nic0 up")
    clean = world.snapshot()
    world.cycle("bridge", **ISO0)
    assert "interface-name:=iso0;interface-name:iso????????????" in read(world, dropin)
    world.cycle("bridge", **ISO0, ports=["nic0"])
    assert "interface-name:=iso0;interface-name:=nic0;" in read(world, dropin)
    world.sh(f"rm {dropin}")
    assert f"drop-ins: {dropin}" in world.cycle("bridge", **ISO0, ports=["nic0"])["diff"][0]["after"]
    world.cycle("bridge", name="iso1", addresses=["10.89.0.1/24"])
    world.cycle("bridge", name="iso0", state="absent")
    assert read(world, dropin).endswith("unmanaged-devices+=interface-name:=iso1;interface-name:iso????????????")
    world.cycle("bridge", name="iso1", state="absent")
    assert difference(clean, world.snapshot()) == {}


def test_as_many_ports_as_the_kernel_gives(world: World) -> None:
    """The bridge's 1024th port is refused before anything is changed, where the kernel would refuse it half-way."""
    world.apply("bridge", **ISO0)
    pairs = [(f"a{number}", f"b{number}") for number in range(512)]  # both ends, and down: no loop
    batch = [f"link add {one} type veth peer name {other}\n" for one, other in pairs]
    batch += [f"link set dev {name} master iso0\n" for pair in pairs for name in pair]
    refusal = world.run(["ip", "-batch", "-"], stdin="".join(batch), check=False)
    assert "Exchange full" in refusal.stderr, "this kernel has another limit"
    assert "1024, and the kernel gives a bridge 1023" in world.refused("bridge", **ISO0, ports=["b511"])


GOLDEN = sorted((REPOSITORY / "tests" / "unit").glob("*/golden/*.nft"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_documented_rulesets_load(path: pathlib.Path) -> None:
    """This nft and this kernel take every documented ruleset."""
    subprocess.run(["unshare", "--net", "nft", "-f", str(path)], check=True)


def test_warns_of_other_firewalls(world: World) -> None:
    """A policy that drops what is forwarded is named, in check mode too."""
    world.sh("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'")
    warnings = world.module("bridge", check=True, **ISO0)["warnings"]
    assert any("ip filter FORWARD" in str(warning) for warning in warnings)


@pytest.mark.parametrize("module", ["bridge", "nat_portmap"])
def test_check_mode_without_tools(world: World, module: str) -> None:
    """On a host where nothing is installed yet, check mode tells what will be done once it is."""
    args: dict[str, t.Any] = (
        ISO0 if module == "bridge" else {"name": "web", "mappings": [{"host_port": 80, "address": "10.88.0.2"}]}
    )
    clean = world.snapshot()
    tools = [world.sh(f"readlink -f $(command -v {tool})").strip() for tool in ("nft", "ip")]
    for tool in tools:
        world.sh(f"mount --bind /dev/null {tool}")
    predicted = world.module(module, check=True, **args)
    refused = world.module(module, **args)
    for tool in tools:
        world.sh(f"umount {tool}")
    assert any("nftables is not installed" in str(warning) for warning in predicted["warnings"])
    assert "nftables" in refused["msg"]
    assert difference(clean, world.snapshot()) == {}
    assert world.apply(module, **args)["diff"] == predicted["diff"]
