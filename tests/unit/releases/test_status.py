# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of how hosts are, compared with what is declared."""

from __future__ import annotations

import html.parser
import json
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Change, Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._runner import make_diff
from ansible_collections.daemonless.isolation.plugins.plugin_utils import (
    _drift,
    _status,
    _status_page,
    _status_text,
    _status_words,
)

Data = t.Dict[str, t.Any]

EVIL = "<script>alert('x')</script>\x1b[31m\u202e\"'&"


def service(name: str, release: str = "3fa91c2", **changes: t.Any) -> Data:
    """An instance as host_info tells it."""
    return {
        "name": f"{name}-{release}",
        "service": name,
        "release": release,
        "state": "started",
        "uptime": 100.0,
        "started_at": "2026-11-25T07:49:53Z",
        "slice": f"{name}/{release}",
        "health": {"kind": "http", "status": "healthy", "since": None, "failures": 0, "action": None},
        "addresses": [{"bridge": "iso0", "ipv4": "10.88.0.17", "ipv6": None}],
        "options": {"environment": ["PASSWORD", "PORT"]},
        "published": [
            {"host_address": None, "host_port": 80, "protocol": "tcp", "address": "10.88.0.17", "port": 3000}
        ],
        "usage": {"memory_current": 64 << 20, "pids_current": 3, "cpu_usage_usec": 25_000_000},
        "peak": {"memory": 80 << 20},
        "oom_kills": 0,
        "restarts": 0,
        "failure": None,
        **changes,
    }


def seen(*services: Data, **more: t.Any) -> Data:
    """What is known of a host on which these services are declared."""
    slices = [
        {
            "name": one["slice"],
            "effective": {"cpu_max": "50000/100000", "memory_max": 256 << 20, "pids_max": 64, "io_max": []},
        }
        for one in services
    ]
    return {
        "info": {"services": list(services), "slices": slices, "unseen": []},
        "plan": {"waves": [{"services": [{"name": one["name"], "service": one["service"]} for one in services]}]},
        "results": {},
        **more,
    }


def diff(header: str, before: str, after: str) -> Data:
    return {"diff": [{"after_header": header, "before": before, "after": after}]}


def report(**hosts: Data) -> Data:
    told = {name: _status.host_status(one) for name, one in hosts.items()}
    return _status.fleet_status(told, "shop", "2026-11-28T09:14:31Z")


def test_drift_reads_diffs() -> None:
    results = {"bridges": diff("bridge iso0", "mtu: 1400\nstp: yes\n", "mtu: 1500\n"), "services": None}
    assert _drift.drift(results) == ["bridge iso0: mtu: 1400 → 1500", "bridge iso0: stp: yes → (none)"]


def test_rules_of_one_chain_each_have_a_line() -> None:
    result = diff("bridge iso0", "nft forward: a\nnft forward: b\n", "nft forward: c\n")
    assert _drift.drift({"bridges": result}) == [
        "bridge iso0: nft forward: a → (none)",
        "bridge iso0: nft forward: b → (none)",
        "bridge iso0: nft forward: (none) → c",
    ]


def test_what_a_diff_has_cut_off_is_counted() -> None:
    changes = tuple(Change(f"tcp {port}", None, "10.88.0.17:80") for port in range(103))
    lines = _drift.drift({"portmaps": {"diff": [make_diff("portmap", Plan("web", changes))]}})
    assert len(lines) == 101
    assert lines[-1] == "portmap web: …: (none) → and 3 more"


def test_values_of_the_environment_are_not_told() -> None:
    """Not those of one line, nor those of several, of which any line may look like an option."""
    key = "-----BEGIN KEY-----\nProc-Type: 4,ENCRYPTED\nhunter3\n-----END KEY-----"
    changes = (
        Change("environment PASSWORD", "hunter1", "hunter2", "restart"),
        Change("environment KEY", None, key, "restart"),
    )
    results = {"services": {"diff": [make_diff("service", Plan("web-1", changes, effect="restart"))]}}
    lines = _drift.drift(results)
    assert lines == [
        "service web-1: environment PASSWORD: (not shown) → (not shown)",
        "service web-1: environment KEY: (none) → (not shown)",
    ]
    told = report(web1=seen(service("web"), results=results))
    for text in (json.dumps(told), _status_page.status_page(told), "\n".join(_status_text.status_table(told))):
        assert "PASSWORD" in text
        assert not any(secret in text for secret in ("hunter", "ENCRYPTED", "BEGIN KEY"))


def test_a_host_as_declared() -> None:
    host = _status.host_status(seen(service("web")))
    assert (host["result"], host["drift"], host["message"]) == ("in_sync", [], None)
    (web,) = host["services"]
    assert web["limits"] == {"cpu_max": "50000/100000", "memory_max": 256 << 20, "pids_max": 64}
    assert web["use"]["cpu_percent"] == 25.0
    assert (web["role"], web["verdict"]) == ("current", "running")
    assert _status_words.uses(web) == {
        "memory": ("64M / 256M", 25.0),
        "pids": ("3 / 64", 3 / 0.64),
        "cpu": ("25% / 50%", 50.0),
    }


def test_each_difference_has_its_layer_and_its_service() -> None:
    results = {
        "bridges": diff("bridge iso0", "mtu: 1400\n", "mtu: 1500\n"),
        "slices": diff("slice web/3fa91c2", "pids_max: 99\n", "pids_max: 64\n"),
        "rootfs": diff("rootfs web-3fa91c2", "mounted: no\n", "mounted: yes\n"),
        "services": diff("service web-3fa91c2", "artifact run: edited\n", "artifact run: as asked for\neffect: live\n"),
        "portmaps": diff("portmap web", "", "tcp 80: 10.88.0.17:3000\n"),
    }
    host = _status.host_status(seen(service("web"), results=results))
    assert host["result"] == "drifted"
    assert [(one["layer"], one["service"]) for one in host["drift"]] == [
        ("bridges", None), ("slices", "web"), ("rootfs", "web"), ("services", "web"), ("portmaps", "web"),
    ]  # fmt: skip
    assert [one["effect"] for one in host["drift"]] == [None, None, None, "live", None]


def test_what_would_be_removed_is_drift() -> None:
    known = seen(service("web"))
    known["plan"]["remove"] = {"services": [{"name": "old-1111111", "state": "absent"}], "rootfs": [], "slices": []}
    host = _status.host_status(known)
    assert [_drift.line(one) for one in host["drift"]] == ["service old-1111111: state: present → absent"]
    assert host["drift"][0]["service"] == "old"


@pytest.mark.parametrize(
    ("known", "result", "message"),
    [
        ({}, "failed", "the host was not compared"),
        ({"info": {"unreachable": True, "msg": "Task failed: no route to host"}}, "unreachable", "no route to host"),
        (seen(service("web"), results={"slices": {"unreachable": True, "msg": "lost"}}), "unreachable", "lost"),
        (
            seen(service("web"), failure={"msg": "bridge iso0: no", "failed": True}, task="Bridges"),
            "failed",
            "bridge iso0: no",
        ),
        (seen(service("web"), failure={"msg": "x" * 3000}), "failed", "x" * 2000 + "…"),
        (
            {
                "info": {"services": []},
                "failure": {
                    "msg": "Task failed: Finalization of task args for 'ansible.builtin.set_fact' failed: Error while resolving value"
                    " for 'isolation__plan': The filter plugin 'daemonless.isolation.host_plan' failed: web: rootfs is missing"
                },
            },
            "failed",
            "web: rootfs is missing",
        ),
    ],
    ids=["nothing", "unreachable", "lost", "failed", "long", "wrapped"],
)
def test_hosts_of_which_not_all_is_known(known: Data, result: str, message: str) -> None:
    host = _status.host_status(known)
    assert (host["result"], host["message"]) == (result, message)
    told = _status.fleet_status({"web1": host}, "shop", "now")
    assert told["summary"][result] == 1
    assert message in "\n".join(_status_text.status_table(told))
    assert message in _status_page.status_page(told)


def test_a_host_without_an_answer_is_in_the_report() -> None:
    told = _status.fleet_status({"web1": {}}, "shop", "now")
    assert told["hosts"][0]["result"] == "failed"
    assert "web1" in _status_page.status_page(told)


def test_roles_of_instances() -> None:
    """Declared and there, declared and missing, a former release, and what the inventory does not name."""
    known = seen(service("web"), service("api"))
    known["info"]["services"] = [
        service("web"),
        service("web", "0000000", state="stopped", usage=None),
        service("gone", "1111111"),
    ]
    host = _status.host_status(known)
    assert [(one["instance"], one["role"], one["verdict"]) for one in host["services"]] == [
        ("web-3fa91c2", "current", "running"),
        ("api-3fa91c2", "missing", "missing"),
        ("gone-1111111", "undeclared", "undeclared"),
        ("web-0000000", "former", "former"),
    ]
    assert _status_words.kept(host, "web") == ["web-0000000"]
    told = _status.fleet_status({"web1": host}, "shop", "now")
    assert (told["summary"]["services"], told["summary"]["services_well"]) == (2, 1)
    table = "\n".join(_status_text.status_table(told))
    assert "0000000" not in table
    assert "undeclared" in table
    assert _status.host_status({**known, "only": ["web"]})["services"][-1]["instance"] == "web-0000000"


def test_a_service_that_fails_is_told_with_its_log() -> None:
    failure = {
        "ended_at": "2026-11-28T09:14:02Z",
        "next_start": "2026-11-28T09:15:02Z",
        "exit_status": 1,
        "signal": None,
        "log": ["no database"],
    }
    told = report(web1=seen(service("web", state="failing", usage=None, uptime=None, restarts=17, failure=failure)))
    table = _status_text.status_table(told)
    assert (
        "web1: web-3fa91c2: failing: ended at 2026-11-28T09:14:02Z, exit status 1, next start at 2026-11-28T09:15:02Z"
        in table
    )
    assert "  | no database" in table
    assert told["summary"]["services_well"] == 0
    page = _status_page.status_page(told)
    assert "no database" in page
    assert "Why web-3fa91c2 does not run" in page


def test_the_table_is_aligned() -> None:
    lines = _status_text.status_table(
        report(w=seen(service("web")), longer=seen(service("a-service"), service("数据库")), lost={})
    )
    rows = lines[: lines.index("")]
    assert len({_status_text._width(row[: row.rindex("  ")]) for row in rows if row.endswith("-")}) == 1
    assert lines[-1] == "3 hosts (2 in sync, 1 failed), 3 services (3 well), no drift where it could be seen"
    assert _status_text.status_table(report(w=seen(service("web"))))[-1].endswith("no drift")


class _Page(html.parser.HTMLParser):
    """The elements of a page, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def evil() -> Data:
    """A report in which every text that a host, a service or an inventory can choose is an attack."""

    def spoilt(value: t.Any, key: str = "") -> t.Any:
        if isinstance(value, dict):
            return {name: spoilt(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one) for one in value]
        return EVIL if isinstance(value, str) and key not in ("result", "role", "layer", "state") else value

    failure = {"ended_at": "a", "next_start": "b", "exit_status": None, "signal": "c", "log": ["d", "e"]}
    known = seen(service("web", failure=failure), service("web", "1"))
    known["info"]["services"].append(service("web", "2", state="stopped"))
    known["info"]["unseen"] = [{"subset": "services", "name": None, "reason": "f"}]
    known["results"] = {"services": diff("service web-1", "a: b\n", "a: c\neffect: live\n")}
    return t.cast(Data, spoilt(report(one=known, two={"info": {"unreachable": True, "msg": "x"}}, three={})))


def test_a_page_is_whole_and_loads_nothing() -> None:
    for told in (report(), report(web1=seen(service("web"))), evil()):
        page = _Page(_status_page.status_page(told))
        assert page.open == []
        tags = [tag for tag, _attributes in page.elements]
        assert not {"script", "link", "img", "iframe", "object", "base", "form"}.intersection(tags)
        for _tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
            assert str(attributes.get("href", "#")).startswith("#")
        assert "url(" not in _status_page.STYLE
        assert "@import" not in _status_page.STYLE
        ids = [attributes["id"] for _tag, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_what_hosts_say_stays_text() -> None:
    text = _status_page.status_page(evil())
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = "".join(_Page(text).texts)
    assert shown.count("<script>alert('x')</script>") > 20
    table = "\n".join(_status_text.status_table(evil()))
    assert "\x1b" not in table
    assert "\u202e" not in table


def test_a_large_fleet_shows_what_needs_attention() -> None:
    hosts = {f"web{number}": seen(service("web")) for number in range(40)}
    hosts["web7"] = seen(service("web"), results={"bridges": diff("bridge iso0", "mtu: 1\n", "mtu: 2\n")})
    page = _Page(_status_page.status_page(report(**hosts)))
    details = [attributes for tag, attributes in page.elements if tag == "details"]
    assert [attributes["id"] for attributes in details if "open" in attributes] == ["host-8"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5K"), (256 << 20, "256M"), (5 << 40, "5T"), ("max", "max")],
)
def test_sizes(number: t.Any, shown: str) -> None:
    assert _status_words.size(number) == shown


@pytest.mark.parametrize(
    ("value", "share"), [("50000/100000", 50.0), ("max", None), ("max/100000", None), (None, None), ("1/0", None)]
)
def test_shares_of_cpu_time(value: t.Any, share: float | None) -> None:
    assert _status.cpu_share(value) == share
