# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For whom ports are published, several targets for one port, and checks that take a change back."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import typing as t

import pytest
from standins import CLOSED, Sender, Service, ask, generation, serve
from world import ATTACKER4, ATTACKER6, CLIENT4, CLIENT6, HOST4, HOST6, REPOSITORY, World, difference

DOCUMENT = REPOSITORY / "docs" / "networking.md"
SERVICES = {"a": ("10.88.0.2", "fd88::2"), "b": ("10.88.0.3", "fd88::3"), "c": ("10.88.0.4", "fd88::4")}

ECHO = r"""
import socket, sys, threading
def talk(connection):
    with connection:
        while connection.recv(64):
            connection.sendall(sys.argv[1].encode() + b"\n")
def answer(server):
    while True:
        _data, peer = server.recvfrom(64)
        server.sendto(sys.argv[1].encode(), peer)
tcp, udp = (socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
for server in tcp, udp:
    server.bind(("::", 3000))
tcp.listen()
print("ready", flush=True)
threading.Thread(target=answer, args=(udp,), daemon=True).start()
while True:
    threading.Thread(target=talk, args=(tcp.accept()[0],), daemon=True).start()
"""

SHOTS = r"""
import socket, sys
for _number in range(12):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as s:
        s.sendall(b"?")
        print(s.recv(64).decode().strip())
"""


@pytest.fixture
def stage(world: World) -> World:
    """Three services that answer with their names."""
    world.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0")
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    for name, addresses in SERVICES.items():
        Service(world, name, "iso0", list(addresses), ["10.88.0.1", "fd88::1"])
        server = world.popen([sys.executable, "-c", ECHO, name], ns=name, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
    return world


def spread(names: str, protocol: str = "tcp", six: bool = False) -> dict[str, t.Any]:
    backends = [{"address": SERVICES[name][six], "port": 3000} for name in names]
    return {"host_port": 8080, "protocol": protocol, "backends": backends}


def all_of(names: str) -> list[dict[str, t.Any]]:
    return [spread(names, protocol, six) for protocol in ("tcp", "udp") for six in (False, True)]


def shots(world: World, address: str, ns: str = "client") -> set[str]:
    return set(world.run([sys.executable, "-c", SHOTS, address, "8080"], ns=ns).stdout.split())


def test_backends(stage: World) -> None:
    """All targets are used; connections stay where they are, and so do UDP clients of targets that stay."""
    made = stage.cycle("nat_portmap", name="web", mappings=all_of("ab"))
    assert "tcp 8080: 10.88.0.2:3000, 10.88.0.3:3000" in made["diff"][0]["after"]
    for address in (HOST4, HOST6):
        assert shots(stage, address) == {"a", "b"}
    assert shots(stage, HOST4, "host") == shots(stage, "127.0.0.1", "host") == {"a", "b"}
    assert shots(stage, HOST4, "c") == {"a", "b"}
    assert shots(stage, HOST4, "a") == {"a", "b"}, "a service that reaches itself and its sibling"

    senders = {
        (kind, address): [Sender(stage, address, 8080, kind) for _number in range(2)]
        for kind in ("tcp", "udp")
        for address in (HOST4, HOST6)
    }
    names = {key: [sender.last() for sender in pair] for key, pair in senders.items()}
    assert all(set(pair) == {"a", "b"} for pair in names.values()), names
    counts = {key: [len(sender.answers) for sender in pair] for key, pair in senders.items()}
    stage.apply("nat_portmap", name="web", mappings=all_of("bc"))
    for (kind, address), pair in senders.items():
        for name, sender, since in zip(names[kind, address], pair, counts[kind, address]):
            if kind == "tcp" or name == "b":
                sender.stays(name, since)
            else:
                sender.until("b", "c")
    assert shots(stage, HOST4) == {"b", "c"}
    # To one target and back to several: of all, only UDP clients of targets that go move.
    stage.cycle("nat_portmap", name="web", mappings=all_of("b"))
    assert shots(stage, HOST6) == {"b"}
    for pair in (senders["udp", HOST4], senders["udp", HOST6]):
        for sender in pair:
            sender.until("b")
    stage.cycle("nat_portmap", name="web", mappings=all_of("abc"))
    assert shots(stage, HOST4) == {"a", "b", "c"}
    for key, pair in senders.items():
        for name, sender in zip(names[key], pair):
            sender.stays(name if key[0] == "tcp" else "b", -5)


def test_backends_keep_others_cheap(world: World) -> None:
    """Every port with several targets has a chain of its own; the rules that all others pass stay as they are."""
    count = "nft list chain inet isolation_nat publish | wc -l"
    world.apply("nat_portmap", name="web", mappings=[{"host_port": 80, "address": "10.88.0.2"}])
    rules = world.sh(count)
    many = [{"host_port": 8000 + number, "backends": spread("ab")["backends"]} for number in range(20)]
    world.cycle("nat_portmap", name="many", mappings=many)
    assert world.sh(count) == rules
    assert world.sh("nft list table inet isolation_nat | grep -c numgen") == "20\n"
    world.cycle("nat_portmap", name="many", state="absent")
    assert world.sh("nft list table inet isolation_nat | grep -c numgen || true") == "0\n"


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush chain inet isolation_nat $chain",
        "nft add rule inet isolation_nat $chain counter",
        "nft insert rule inet isolation_nat $chain drop",
        "nft flush map inet isolation_nat any4_spread; nft flush chain inet isolation_nat $chain; nft delete chain inet isolation_nat $chain",
        "nft flush set inet isolation_nat only4",
        "nft flush set inet isolation_nat deny4",
        "nft flush set inet isolation_nat self4",
        "nft add element inet isolation_nat allow4 '{ 192.0.2.0/24 . 0.0.0.0/0 . tcp . 8080 comment \"web\" }'",
        "nft flush chain inet isolation_nat judge",
        "nft delete chain inet isolation_nat admit",
    ],
)
def test_damage(world: World, damage: str) -> None:
    """What somebody has done to chains and sets is found and repaired."""
    mapping = {**spread("ab"), "allow_from": ["10.0.0.0/8", "::/0"][:1], "deny_from": ["10.6.0.0/16"]}
    world.apply("nat_portmap", name="web", mappings=[mapping])
    good = world.snapshot()
    world.sh("chain=$(nft list chains inet | grep -o 'spread_[0-9a-f]*'); " + damage)
    assert world.cycle("nat_portmap", name="web", mappings=[mapping])["changed"]
    assert difference(good, world.snapshot()) == {}


def restricted(**more: t.Any) -> list[dict[str, t.Any]]:
    found = []
    for protocol in ("tcp", "udp"):
        for six in (False, True):
            base = {"protocol": protocol, "address": SERVICES["a"][six]}
            here = {key: value for key, value in more.items() if not six}
            found.append({**base, "host_port": 8080, "port": 3000, **here})
            found.append({**base, "host_port": "9000-9001", **here})
            found.append({**base, "host_port": "9100-9101", "port": "9000-9001", **here})
    for item, clients in ((item, (CLIENT4, CLIENT6)) for item in found if "allow_from" not in item and not more):
        item["allow_from"] = [clients[":" in item["address"]]]
    return found


def test_allow_from(world: World) -> None:
    """Only clients of the networks that are allowed reach a port, its ranges too; the service sees their addresses."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    for name in ("a", "b"):
        Service(world, name, "iso0", list(SERVICES[name]), ["10.88.0.1", "fd88::1"])
    ports = ("3000", "9000", "9001")
    serve(world, "a", *(f"{protocol}/{port}" for port in ports for protocol in ("tcp", "udp")))
    # The host's own firewall is open, and says so before ours has its say.
    world.sh(
        "nft 'table inet filter { chain input { type filter hook input priority -10; policy accept; accept; };"
        " chain forward { type filter hook forward priority -10; policy accept; accept; }; }'"
    )
    world.cycle("nat_portmap", name="web", mappings=restricted())
    inside = {8080: 3000, 9000: 9000, 9001: 9001, 9100: 9000, 9101: 9001}
    targets = [(protocol, host, port) for protocol in ("tcp", "udp") for host in (HOST4, HOST6) for port in inside]

    def check(ns: str, expected: t.Callable[[bool, int], str]) -> None:
        found = ask(world, ns, *targets)
        assert found == {target: expected(":" in target[1], inside[target[2]]) for target in targets}, ns

    check("client", lambda six, port: f"a:{port} {CLIENT6 if six else CLIENT4}")
    for ns in ("attacker", "b"):
        check(ns, lambda _six, _port: CLOSED)
    check("host", lambda six, port: f"a:{port} {HOST6 if six else HOST4}")

    deny = restricted(allow_from=["0.0.0.0/0"], deny_from=[f"{CLIENT4}/32", "10.0.0.0/8"])
    changed = world.cycle("nat_portmap", name="web", mappings=deny)
    assert f"udp 8080: 10.88.0.2:3000 from 0.0.0.0/0 not from 10.0.0.0/8, {CLIENT4}" in changed["diff"][0]["after"]
    check("client", lambda six, port: f"a:{port} {CLIENT6}" if six else CLOSED)
    check("attacker", lambda six, port: f"a:{port} {ATTACKER6 if six else ATTACKER4}")


@pytest.mark.parametrize("six", [False, True])
def test_only_new_connections_are_judged(stage: World, six: bool) -> None:
    """A connection goes on when its client is denied; a UDP client, who has none, is shut out within a second."""
    host, client = (HOST6, CLIENT6) if six else (HOST4, CLIENT4)
    mappings = [
        {"host_port": 8080, "protocol": protocol, "address": SERVICES["a"][six], "port": 3000}
        for protocol in ("tcp", "udp")
    ]
    stage.apply("nat_portmap", name="web", mappings=mappings)
    senders = {kind: Sender(stage, host, 8080, kind) for kind in ("tcp", "udp")}
    other = Sender(stage, host, 8080, "udp", "attacker")
    for sender in (*senders.values(), other):
        sender.until("a")
    for refusal in ({"deny_from": [client]}, {"allow_from": [ATTACKER6 if six else ATTACKER4]}):
        stage.cycle("nat_portmap", name="web", mappings=[{**mapping, **refusal} for mapping in mappings])
        senders["udp"].until("closed")
        senders["tcp"].stays("a")
        other.stays("a")
        assert ask(stage, "client", ("tcp", host, 8080))["tcp", host, 8080] == CLOSED
        stage.apply("nat_portmap", name="web", mappings=mappings)
        senders["udp"].until("a")


def plain(name: str, protocol: str = "tcp") -> dict[str, t.Any]:
    return {"host_port": 8080, "protocol": protocol, "address": SERVICES[name][0], "port": 3000}


NOWHERE = {**plain("a"), "port": 3999}


def test_verify_passes(stage: World, tmp_path: pathlib.Path) -> None:
    """What answers stays; the check is asked only if something changed, and until it answers."""
    (tmp_path / "page").write_text("page")
    stage.popen(["sh", "-c", f"sleep 3; exec python3 -m http.server 3001 --bind 0.0.0.0 --directory {tmp_path}"],
                ns="a", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    mappings = [{**plain("a"), "port": 3001}]
    for url, status in ((f"http://{HOST4}:8080/page", None), ("http://127.0.0.1:8080/none", 404)):
        check = {"http": {"url": url, **({"status": status} if status else {})}, "timeout": "10s"}
        stage.cycle("nat_portmap", name="web", mappings=mappings, verify=check)
        mappings = [{**mappings[0], "deny_from": ["192.0.2.0/24"]}]
    unchanged = {"tcp": {"address": HOST4, "port": 1}, "timeout": "1s"}
    assert not stage.apply("nat_portmap", name="web", mappings=mappings, verify=unchanged)["changed"]


def test_verify_takes_back_what_is_first(world: World) -> None:
    """Where there was nothing, nothing is left."""
    clean = world.snapshot()
    for check, answer in (
        ({"tcp": {"address": HOST4, "port": 8080}, "timeout": "500ms"}, "connecting to"),
        ({"http": {"url": f"http://{HOST4}:8080/"}, "timeout": "500ms"}, "GET http"),
    ):
        failed = world.module("nat_portmap", name="web", mappings=[NOWHERE], verify=check)
        assert failed["failed"]
        assert answer in failed["msg"]
        assert "The earlier ports are back" in failed["msg"]
        assert difference(clean, world.snapshot()) == {}


@pytest.mark.parametrize(
    "damage", ["true", "nft delete table inet isolation_nat", "nft flush chain inet isolation_nat publish"]
)
def test_verify_takes_back(stage: World, damage: str) -> None:
    """The earlier ports serve on, as if nothing had been, for all owners of the task; UDP clients come back, too."""
    earlier: list[dict[str, t.Any]] = [
        {"name": "web", "mappings": [*all_of("ab"), {**plain("c"), "host_port": 81, "allow_from": ["10.0.0.0/8"]}]},
        {"name": "dns", "mappings": [{**plain("b", "udp"), "host_port": 53}]},
    ]
    stage.apply("nat_portmap", aggregate=earlier)
    good = stage.snapshot()
    stage.sh(damage)
    senders = [Sender(stage, HOST4, 8080, "udp"), Sender(stage, HOST4, 53, "udp")]
    later: list[dict[str, t.Any]] = [
        {
            "name": "web",
            "mappings": [NOWHERE, {**plain("c", "udp"), "port": 3999}],
            "verify": {"tcp": {"address": HOST4, "port": 8080}, "timeout": "1s"},
        },
        {"name": "dns", "state": "absent"},
        {"name": "new", "mappings": [{**plain("a"), "host_port": 99}]},
    ]
    assert not stage.module("nat_portmap", check=True, aggregate=later).get("failed")
    before = generation(stage)
    failed = stage.module("nat_portmap", aggregate=later)
    assert failed["failed"]
    assert generation(stage) - before == 2, "one transaction there, and one back"
    assert "verify of web" in failed["msg"]
    assert "Connection refused" in failed["msg"]
    assert difference(good, stage.snapshot()) == {}
    senders[0].until("a", "b")
    senders[1].until("b")
    assert shots(stage, HOST4) == {"a", "b"}
    assert not stage.apply("nat_portmap", aggregate=earlier)["changed"]


def test_refused_verify(world: World) -> None:
    """A check that can't be meant is refused before anything is changed."""
    for verify, word in (
        ({}, "http, tcp"),
        ({"http": {"url": "http://x/"}, "tcp": {"address": "10.0.0.1", "port": 1}}, "mutually exclusive"),
        ({"tcp": {"address": "10.0.0.1", "port": 1}, "timeout": "soon"}, "soon"),
        ({"http": {"url": "https://127.0.0.1/"}}, "give tcp"),
    ):
        assert word in world.refused("nat_portmap", name="web", mappings=[plain("a")], verify=verify)


@pytest.mark.parametrize(
    ("mapping", "word"),
    [
        ({"host_port": 80}, "address, backends"),
        ({**spread("ab"), "address": "10.88.0.2"}, "mutually exclusive"),
        ({**spread("ab"), "host_port": "80-81"}, "range"),
        ({**plain("a"), "allow_from": []}, "nobody"),
        ({**plain("a"), "allow_from": ["fd00::/8"]}, "family"),
    ],
)
def test_refused_options(world: World, mapping: dict[str, t.Any], word: str) -> None:
    """Targets and clients that can't be meant are refused before anything is changed."""
    assert word in world.refused("nat_portmap", name="web", mappings=[mapping])


DOCKER = """
table {family} filter {{
  chain DOCKER-USER {{ return; }}
  chain DOCKER-FORWARD {{ iifname "docker0" accept; }}
  chain FORWARD {{ type filter hook forward priority filter; policy drop; jump DOCKER-USER; jump DOCKER-FORWARD; }}
}}
"""

FIREWALLD = """
table inet firewalld
delete table inet firewalld
table inet firewalld {{
  chain filter_FORWARD {{
    type filter hook forward priority filter + 10; policy accept;
    ct state {{ established, related }} accept
    {translated}
    iifname "lo" accept
    reject with icmpx type admin-prohibited
  }}
}}
"""


def reached(world: World) -> set[str]:
    """What a client gets from published ports of both families, tcp and udp."""
    targets = [(protocol, host, 8080) for protocol in ("tcp", "udp") for host in (HOST4, HOST6)]
    found = ask(world, "client", *targets)
    return {answer.partition(" ")[0] for answer in found.values()}


@pytest.fixture
def published(world: World) -> list[dict[str, t.Any]]:
    """A service, published in both families."""
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    Service(world, "a", "iso0", list(SERVICES["a"]), ["10.88.0.1", "fd88::1"])
    serve(world, "a", "tcp/3000", "udp/3000")
    mappings = [
        {"host_port": 8080, "protocol": protocol, "address": address, "port": 3000}
        for protocol in ("tcp", "udp")
        for address in SERVICES["a"]
    ]
    world.apply("nat_portmap", name="web", mappings=mappings)
    assert reached(world) == {"a:3000"}
    return mappings


def told(world: World, mappings: list[dict[str, t.Any]]) -> list[str]:
    """What is warned of, the same in check mode and without."""
    found = [world.module("nat_portmap", check=check, name="web", mappings=mappings) for check in (True, False)]
    assert found[0].get("warnings", []) == found[1].get("warnings", [])
    return [str(warning) for warning in found[0].get("warnings", [])]


def test_policy_of_docker(world: World, published: list[dict[str, t.Any]]) -> None:
    """A policy as Docker leaves it does stop published ports; it is told, and the remedy that is told helps."""
    assert told(world, published) == []
    for family in ("ip", "ip6"):
        world.run(["nft", "-f", "-"], stdin=DOCKER.format(family=family))
    assert reached(world) == {CLOSED}
    (warning,) = told(world, published)
    assert "ip filter FORWARD, ip6 filter FORWARD" in warning
    assert "iptables -I FORWARD -i BRIDGE -j ACCEPT and -o BRIDGE" in warning
    for family in ("ip", "ip6"):
        for side in ("iifname", "oifname"):
            world.sh(f"nft insert rule {family} filter FORWARD {side} iso0 counter accept")
    assert reached(world) == {"a:3000"}
    assert told(world, published) == []


def test_policy_of_older_iptables(world: World, published: list[dict[str, t.Any]]) -> None:
    """What the older iptables has is unknown to nft, and is told as well."""
    tools = ("iptables-legacy", "ip6tables-legacy")
    for tool in tools:
        world.sh(f"{tool} -P FORWARD DROP")
    assert reached(world) == {CLOSED}
    (warning,) = told(world, published)
    assert "iptables-legacy FORWARD, ip6tables-legacy FORWARD" in warning
    for tool in tools:
        for side in ("-i", "-o"):
            world.sh(f"{tool} -I FORWARD {side} iso0 -j ACCEPT")
    assert reached(world) == {"a:3000"}
    assert told(world, published) == []


def test_strict_firewalld(world: World, published: list[dict[str, t.Any]]) -> None:
    """Chains as firewalld has them let published ports pass; those of StrictForwardPorts don't, which is told with the remedy."""
    world.sh("mkdir -p /etc/firewalld; echo StrictForwardPorts=no >/etc/firewalld/firewalld.conf")
    world.run(["nft", "-f", "-"], stdin=FIREWALLD.format(translated="ct status dnat accept"))
    assert told(world, published) == []
    assert reached(world) == {"a:3000"}
    world.sh("echo StrictForwardPorts=yes >/etc/firewalld/firewalld.conf")
    world.run(["nft", "-f", "-"], stdin=FIREWALLD.format(translated=""))
    assert reached(world) == {CLOSED}
    (warning,) = told(world, published)
    assert "StrictForwardPorts=yes" in warning
    assert "firewall-cmd --reload" in warning


def test_bridged_packets_in_the_firewall(world: World) -> None:
    """Where bridged packets go through the host's firewall, it is told."""
    args: dict[str, t.Any] = {"name": "iso0", "addresses": ["10.88.0.1/24", "fd88::1/64"]}
    world.apply("bridge", **args)
    for value, count in ((0, 0), (1, 1)):
        world.sh(f"sysctl -qw net.bridge.bridge-nf-call-iptables={value} net.bridge.bridge-nf-call-ip6tables={value}")
        shown = world.module("bridge", check=True, **args).get("warnings", [])
        assert sum("bridge-nf-call-iptables" in str(warning) for warning in shown) == count


ADMINISTRATOR = f"""
table inet isolation_bridge {{
  chain admin-prerouting {{
    ip saddr {CLIENT4} tcp dport 8080 drop
    udp dport 8080 meta mark set meta mark | 0x00000004
  }}
  chain admin-forward {{
    udp dport 3000 meta mark & 0x00000004 == 0 drop
    ip6 saddr {CLIENT6} meta l4proto tcp ct original proto-dst 8080 drop
  }}
}}
"""


def test_administrator(world: World, published: list[dict[str, t.Any]]) -> None:
    """The administrator's rules come before ours, before and after translation; the bits of their marks stay, and their file, too."""
    path = "/etc/isolation/nft.d/10-own.nft"
    world.run(["sh", "-ec", f"mkdir -p /etc/isolation/nft.d; cat >{path}"], stdin=ADMINISTRATOR)
    world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    targets = [(protocol, host, 8080) for protocol in ("tcp", "udp") for host in (HOST4, HOST6)]
    assert ask(world, "client", *targets) == {
        ("tcp", HOST4, 8080): CLOSED,
        ("tcp", HOST6, 8080): CLOSED,
        ("udp", HOST4, 8080): f"a:3000 {CLIENT4}",
        ("udp", HOST6, 8080): f"a:3000 {CLIENT6}",
    }
    assert CLOSED not in ask(world, "attacker", *targets).values()
    documented = DOCUMENT.read_text().partition("# /etc/isolation/nft.d/10-block.nft\n")[2].partition("```")[0]
    assert "admin-forward" in documented
    world.run(["sh", "-ec", "cat >/etc/isolation/nft.d/20-block.nft"], stdin=documented)
    changed = world.apply("bridge", name="iso0", addresses=["10.88.0.1/24", "fd88::1/64"])
    assert "203.0.113.0/24 drop" in changed["diff"][0]["after"]
    world.apply("nat_portmap", name="web", mappings=published[:1])
    world.apply("nat_portmap", name="web", state="absent")
    world.sh("ip link del v-a")
    world.apply("bridge", name="iso0", state="absent")
    assert world.sh(f"cat {path}") == ADMINISTRATOR
