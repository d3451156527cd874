# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the options of published ports mean, and what they become in nft's words."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._host.sockets import (
    parse_address,
    parse_sctp,
    parse_six_only,
    parse_table,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap import elements, listing, render
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.model import (
    Mapping,
    PortmapSpec,
    ServiceAddress,
    Verify,
    from_record,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._portmap.spec import parse

GOLDEN = pathlib.Path(__file__).with_name("golden")
GUIDE = pathlib.Path(__file__).parents[3] / "docs" / "networking.md"


def mapping(host_port: t.Any, address: str | None = "10.88.0.17", **more: t.Any) -> dict[str, t.Any]:
    return {
        "host_address": None,
        "host_port": str(host_port),
        "protocol": "tcp",
        "address": address,
        "port": None,
        **more,
    }


def spec(*mappings: dict[str, t.Any], services: t.Sequence[dict[str, str]] = ()) -> PortmapSpec:
    return parse({"name": "web", "mappings": mappings, "service_addresses": services, "state": "present"})


def test_canonical() -> None:
    found = spec(
        mapping(81, host_address="0.0.0.0"),
        mapping("9000 - 9009", port="9000-9009", protocol="udp", host_address="127.0.0.1"),
        mapping(80, "FD88:0::17", port="3000", host_address="::"),
    )
    assert found.mappings == (
        Mapping(None, 81, 81, "tcp", "10.88.0.17", 81),
        Mapping("127.0.0.1", 9000, 9009, "udp", "10.88.0.17", 9000),
        Mapping(None, 80, 80, "tcp", "fd88::17", 3000),
    )
    assert [item.label for item in found.mappings] == ["tcp 81", "udp 127.0.0.1:9000-9009", "tcp [::]:80"]
    assert [item.exposed for item in found.mappings] == [True, False, True]
    assert from_record("web", found.kept) == found


@pytest.mark.parametrize(
    ("item", "word"),
    [
        (mapping("0"), "65535"),
        (mapping("80,81"), "range"),
        (mapping("9009-9000"), "range"),
        (mapping("80-89", port="80-88"), "equally long"),
        (mapping(80, host_address="fd00::1"), "family"),
        (mapping(80, "fd88::1", host_address="::1"), "route_localnet"),
        (mapping(80, "fd88::1", host_address="ff02::1"), "multicast"),
        (mapping(80, "fe80::1%eth0"), "IPv6|zone"),
        (mapping(80, "0.0.0.0"), "unspecified"),
        (mapping(80, host_address="localhost"), "localhost"),
        (mapping(80, "::ffff:10.0.0.1"), "as such"),
        (mapping(80, allow_from=["fd00::/8"]), "other family"),
        (mapping(80, "fd88::1", deny_from=["10.0.0.0/8"]), "other family"),
        (mapping(80, allow_from=["10.0.0.1/8"]), "host bits"),
        (mapping(80, allow_from=["lan"]), "lan"),
        (mapping(80, allow_from=[]), "nobody"),
        (mapping(80, None, backends=[]), "empty"),
        (mapping("80-81", None, backends=[{"address": "10.88.0.2"}]), "range"),
        (mapping(80, None, backends=[{"address": "10.88.0.2"}, {"address": "10.88.0.2", "port": 80}]), "twice"),
        (mapping(80, None, backends=[{"address": "10.88.0.2"}, {"address": "fd88::2"}]), "families"),
        (mapping(80, None, backends=[{"address": "127.0.0.1"}]), "loopback"),
        (mapping(80, None, backends=[{"address": "10.88.0.2", "port": 65536}]), "65535"),
        (mapping(80, None, backends=[{"address": "10.88.0.2"}], host_address="fd00::1"), "family"),
    ],
)
def test_refused(item: dict[str, t.Any], word: str) -> None:
    with pytest.raises(InvalidOption, match=word):
        spec(item)


def test_clients() -> None:
    """Networks are merged and sorted, and survive the record."""
    found = spec(
        mapping(80, allow_from=["10.1.0.0/16", "10.0.0.0/16", "192.0.2.9/32", "10.0.0.0/8"], deny_from=["10.6.6.6"]),
        mapping(81, "fd88::1", allow_from=["::/0"], deny_from=[]),
    )
    assert found.mappings[0].allow == ("10.0.0.0/8", "192.0.2.9")
    assert found.mappings[0].summary == "10.88.0.17:80 from 10.0.0.0/8, 192.0.2.9 not from 10.6.6.6"
    assert (found.mappings[1].allow, found.mappings[1].deny) == (("::/0",), ())
    assert from_record("web", found.kept) == found


def test_backends() -> None:
    """Several targets are sorted; one is a plain target."""
    pair = [{"address": "10.88.0.10", "port": None}, {"address": "10.88.0.2", "port": 3000}]
    found = spec(mapping(80, None, backends=pair), mapping(81, None, backends=pair[:1]))
    assert found.mappings[0].backends == (("10.88.0.2", 3000), ("10.88.0.10", 80))
    assert found.mappings[0].target == "10.88.0.2:3000, 10.88.0.10:80"
    assert found.mappings[1] == Mapping(None, 81, 81, "tcp", "10.88.0.10", 81)
    assert from_record("web", found.kept) == found
    again = spec(mapping(80, None, backends=pair[::-1]), mapping(81, "10.88.0.10"))
    assert again == found
    assert again.elements == found.elements


VERIFIES: list[tuple[dict[str, t.Any], Verify]] = [
    ({"http": {"url": "http://127.0.0.1/"}}, Verify("127.0.0.1", 80, "/")),
    ({"http": {"url": "http://[fd00::1]:81/a?b=c", "status": 204}}, Verify("fd00::1", 81, "/a?b=c", 204)),
    ({"tcp": {"address": "127.0.0.1", "port": 443}}, Verify("127.0.0.1", 443)),
]


@pytest.mark.parametrize(("given", "expected"), VERIFIES)
def test_verify(given: dict[str, t.Any], expected: Verify) -> None:
    options = {"name": "web", "mappings": [], "service_addresses": [], "state": "present"}
    assert parse({**options, "verify": {"timeout": "5s", **given}}).verify == expected


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"http": {"url": "https://127.0.0.1/"}}, "give tcp"),
        ({"http": {"url": "127.0.0.1"}}, "URL"),
        ({"http": {"url": "http://127.0.0.1:99999/"}}, "99999|range"),
        ({"http": {"url": "http://127.0.0.1/", "status": 99}}, "99"),
        ({"tcp": {"address": "web", "port": 80}}, "web"),
        ({"tcp": {"address": "127.0.0.1", "port": 0}}, "65535"),
        ({"tcp": {"address": "127.0.0.1", "port": 80}, "timeout": "soon"}, "soon"),
        ({"tcp": {"address": "127.0.0.1", "port": 80}, "timeout": "0s"}, "0s"),
        ({"tcp": {"address": "127.0.0.1", "port": 80}, "timeout": "2h"}, "2h"),
    ],
)
def test_refused_verify(given: dict[str, t.Any], word: str) -> None:
    options = {"name": "web", "mappings": [], "service_addresses": [], "state": "present"}
    with pytest.raises(InvalidOption, match=word):
        parse({**options, "verify": {"timeout": "5s", **given}})


@pytest.mark.parametrize(
    ("address", "to", "word"),
    [
        ("10.88.255.7", "fd88::1", "family"),
        ("10.88.255.7", "10.88.255.7", "itself"),
        ("127.0.0.1", "10.88.0.2", "loopback"),
    ],
)
def test_refused_service_address(address: str, to: str, word: str) -> None:
    with pytest.raises(InvalidOption, match=word):
        spec(services=[{"address": address, "to": to}])


def test_elements() -> None:
    kept = elements.mapping_elements(Mapping(None, 9000, 9009, "udp", "10.88.0.17", 9000), "web")
    assert kept == {("any4_range", "17 . 9000-9009"): ("10.88.0.17", "web")}
    shifted = elements.mapping_elements(Mapping("127.0.0.1", 80, 81, "tcp", "10.88.0.17", 3000), "web")
    assert shifted == {
        ("one4", "127.0.0.1 . 6 . 80"): ("10.88.0.17 . 3000", "web"),
        ("one4", "127.0.0.1 . 6 . 81"): ("10.88.0.17 . 3001", "web"),
    }
    single = elements.mapping_elements(Mapping(None, 80, 80, "sctp", "fd88::17", 80), "web")
    assert single == {("any6", "132 . 80"): ("fd88::17 . 80", "web")}


def test_places() -> None:
    """What UDP packets a change of an element concerns."""
    assert elements.udp_place(("any4", "6 . 80")) is None
    assert elements.udp_place(("self4", "10.0.0.1 . 10.0.0.1")) is None
    assert elements.udp_place(("chain", "spread_0123")) is None
    assert elements.udp_place(("one6", "fd00::1 . 17 . 53")) == (True, "fd00::1", range(53, 54))
    assert elements.udp_place(("any4_range", "17 . 90-92")) == (False, None, range(90, 93))
    assert elements.udp_place(("any4_spread", "17 . 53")) == (False, None, range(53, 54))
    assert elements.udp_place(("deny4", "10.0.0.0/8 . 0.0.0.0/0 . 17 . 53")) == (False, None, range(53, 54))
    assert elements.udp_place(("allow6", "fd00::/8 . fd00::1 . 17 . 53")) == (True, "fd00::1", range(53, 54))
    assert elements.udp_place(("only4", "0.0.0.0/0 . 17 . 53")) == (False, None, range(53, 54))
    assert elements.udp_place(("service4", "10.88.255.7")) == (False, "10.88.255.7", None)


@pytest.mark.parametrize(
    "entry",
    [
        [{"elem": {"val": {"concat": ["tcp", 80]}, "comment": "web"}}, {"concat": ["10.88.0.2", 3000]}],
        [{"elem": {"val": {"concat": [6, 80]}, "comment": "web"}}, {"concat": ["10.88.0.2", 3000]}],
    ],
)
def test_listing_of_one_element(entry: list[t.Any]) -> None:
    objects: list[dict[str, t.Any]] = [
        {"metainfo": {}},
        {"map": {"name": "any4", "elem": [entry]}},
        {"chain": {"name": "guard"}},
    ]
    assert listing.parse_elements(objects) == {("any4", "6 . 80"): ("10.88.0.2 . 3000", "web")}


def test_listing_of_ranges_and_sets() -> None:
    objects: list[dict[str, t.Any]] = [
        {"map": {"name": "any4_range", "elem": [[{"concat": ["udp", {"range": [90, 95]}]}, "10.88.0.2"]]}},
        {"set": {"name": "self4", "elem": [{"concat": ["10.88.0.2", "10.88.0.2"]}]}},
        {"map": {"name": "service6", "elem": [[{"elem": {"val": "fd87::7", "comment": "web"}}, "fd88::2"]]}},
        {"map": {"name": "any6"}},
    ]
    assert listing.parse_elements(objects) == {
        ("any4_range", "17 . 90-95"): ("10.88.0.2", ""),
        ("self4", "10.88.0.2 . 10.88.0.2"): ("", ""),
        ("service6", "fd87::7"): ("fd88::2", "web"),
    }


SITUATIONS: dict[str, tuple[PortmapSpec, ...]] = {
    "none": (PortmapSpec("web"),),
    "web": (
        PortmapSpec(
            "web", (Mapping(None, 80, 80, "tcp", "10.88.0.17", 3000), Mapping(None, 80, 80, "tcp", "fd88::17", 3000))
        ),
    ),
    "loopback": (
        PortmapSpec(
            "web",
            (
                Mapping("127.0.0.1", 80, 80, "tcp", "10.88.0.17", 3000),
                Mapping("127.0.0.1", 9000, 9009, "udp", "10.88.0.17", 9000),
            ),
        ),
    ),
    "hairpin": (
        PortmapSpec(
            "web", (Mapping(None, 80, 80, "tcp", "10.88.0.17", 3000), Mapping(None, 80, 80, "tcp", "fd88::17", 3000))
        ),
        PortmapSpec("dns", (Mapping("192.0.2.1", 53, 53, "udp", "10.88.0.18", 53),)),
    ),
    "ranges": (
        PortmapSpec(
            "voice",
            (
                Mapping(None, 10000, 10099, "udp", "10.88.0.18", 10000),
                Mapping("192.0.2.1", 5060, 5061, "sctp", "10.88.0.18", 6060),
                Mapping(None, 10000, 10099, "udp", "fd88::18", 10000),
                Mapping("2001:db8::1", 5060, 5061, "sctp", "fd88::18", 6060),
            ),
        ),
    ),
    "service_addresses": (
        PortmapSpec(
            "web",
            (Mapping(None, 80, 80, "tcp", "10.88.0.17", 3000),),
            (ServiceAddress("10.88.255.7", "10.88.0.17"), ServiceAddress("fd88::ffff:7", "fd88::17")),
        ),
        PortmapSpec("dns", (), (ServiceAddress("10.88.255.8", "10.88.0.18"),)),
    ),
    "allow_from": (
        PortmapSpec(
            "web",
            (
                Mapping(None, 80, 80, "tcp", "10.88.0.17", 3000, ("10.0.0.0/8", "192.0.2.9"), ("10.66.0.0/16",)),
                Mapping(None, 80, 80, "tcp", "fd88::17", 3000, ("fd00::/8",)),
                Mapping("192.0.2.1", 9000, 9009, "udp", "10.88.0.17", 9000, (), ("198.51.100.0/24",)),
            ),
        ),
    ),
    "backends": (
        PortmapSpec(
            "web",
            (
                Mapping(None, 80, 80, "tcp", "10.88.0.17", 3000, backends=(("10.88.0.17", 3000), ("10.88.0.18", 3000))),
                Mapping(
                    "192.0.2.1", 53, 53, "udp", "10.88.0.17", 53, backends=(("10.88.0.17", 53), ("10.88.0.18", 53))
                ),
                Mapping(None, 80, 80, "tcp", "fd88::17", 3000, backends=(("fd88::17", 3000), ("fd88::18", 3000))),
            ),
        ),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_golden(situation: str) -> None:
    """The rulesets, as documents: GOLDEN=1 writes the files anew."""
    path = GOLDEN / f"{situation}.nft"
    text = render.table_text(elements.all_elements(SITUATIONS[situation]))
    if os.environ.get("GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_no_other_golden_files() -> None:
    """Each file is of a situation that is rendered, and the guide of the way of a packet names it."""
    assert {path.name for path in GOLDEN.iterdir()} == {f"{situation}.nft" for situation in SITUATIONS}
    guide = GUIDE.read_text()
    assert [name for name in sorted(path.name for path in GOLDEN.iterdir()) if name not in guide] == []


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12347 1 0 100 0 0 10 0
"""


def test_sockets() -> None:
    assert parse_table(TCP, "0A", {8080}) == [("127.0.0.1", 8080, "12345")]
    assert parse_address("00000000000000000000000000000000") == "::"
    assert parse_address("0000000000000000FFFF00000100007F") == "127.0.0.1"
    assert parse_address("B80D0120000000000000000001000000") == "2001:db8::1"
    sctp = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n a b 2 10 29 7000 0 999 0.0.0.0 \n"
    assert parse_sctp(sctp, {7000}) == [("0.0.0.0", 7000, "999")]


def test_sockets_of_ipv6_alone() -> None:
    """As `ss --extended` of iproute2 6.1 tells them."""
    shown = (
        "tcp   LISTEN 0      128             [::]:7007            [::]:*    ino:4711 sk:1 cgroup:/x v6only:1 <->\n"
        "tcp   LISTEN 0      128             [::]:22              [::]:*    ino:4712 sk:2 cgroup:/x v6only:0 <->\n"
        "udp   UNCONN 0      0                  *:53                 *:*    ino:4713 sk:3 cgroup:/x <->\n"
    )
    assert parse_six_only(shown) == {"4711"}
