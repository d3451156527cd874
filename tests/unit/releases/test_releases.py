# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Planning on the controller: releases, and what each layer is asked for."""

from __future__ import annotations

import copy
import json
import random
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils import _targets
from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import planning, releases, removal

Data = t.Dict[str, t.Any]

WEB: Data = {
    "name": "web",
    "rootfs": {"source": {"tar": {"path": "/srv/web.tar", "checksum": "sha256:" + "0" * 64}}},
    "command": ["/usr/bin/python3", "/srv/app.py"],
    "environment": {"PORT": "3000", "LANG": "C"},
    "resources": {"memory_max": "256M"},
    "networks": [{"bridge": "iso0"}],
    "ports": [{"host_port": 80, "port": 3000}],
    "health": {"http": {"port": 3000, "path": "/"}},
}


ROLLOUT = {
    "min_healthy_time": "1s",
    "healthy_deadline": "1m",
    "drain_timeout": "5s",
    "keep_running": "0s",
    "auto_revert": True,
    "keep_releases": 2,
    "services_at_once": 10,
}


def host_plan(info: Data, data: Data) -> Data:
    """The plan, with its waves as one."""
    plan = planning.host_plan(info, data)
    return {**plan, **planning.together(plan)}


def declared(services: list[Data], **changes: t.Any) -> Data:
    data: Data = {
        "project": "default",
        "bridges": [{"name": "iso0"}],
        "services": {"isolation_services": services},
        "rollout": ROLLOUT,
        "only": [],
        "prune": False,
        "prune_max": 1,
    }
    return {**data, **changes}


def instance(service: str, release: str, state: str = "stopped", updated: int = 0, **more: t.Any) -> Data:
    name = f"{service}-{release}"
    return {
        "name": name,
        "service": service,
        "project": "default",
        "state": state,
        "updated": updated,
        "rootfs": name,
        "slice": f"{service}/{release}",
        **more,
    }


def test_the_release_is_golden() -> None:
    """A change here replaces every instance of every user: raise RELEASE_FORMAT only for a reason."""
    assert releases.release(WEB) == "a459e57"


def test_the_release_ignores_order() -> None:
    items = list(WEB.items())
    random.Random(1).shuffle(items)
    shuffled = dict(items)
    shuffled["environment"] = {"LANG": "C", "PORT": "3000"}
    assert releases.release(shuffled) == releases.release(WEB)


@pytest.mark.parametrize("key", sorted(releases.LIVE - {"name"}))
def test_what_changes_live_is_no_part_of_the_release(key: str) -> None:
    assert releases.release({**WEB, key: "other"}) == releases.release(WEB)


def test_a_misspelt_option_of_a_root_filesystem_is_refused() -> None:
    with pytest.raises(releases.PlanError, match=r"service web .*rootfs: moed is not known here"):
        releases.merge_services({"isolation_services": [{**WEB, "rootfs": {**WEB["rootfs"], "moed": "read_only"}}]})


def test_how_an_image_is_had_is_no_part_of_the_release() -> None:
    registry = {"image": "registry.example/web:1.4", "revision": "2"}
    reached = {**registry, "username": "deploy", "password": "canary", "tls_verify": False}
    plain = releases.release({**WEB, "rootfs": {"source": {"registry": registry}}})
    assert releases.release({**WEB, "rootfs": {"source": {"registry": reached}, "pull": "always"}}) == plain
    assert releases.release({**WEB, "rootfs": {"source": {"registry": {**registry, "revision": "3"}}}}) != plain


@pytest.mark.parametrize("key", ["command", "environment", "rootfs", "user", "networks", "tmpfs", "capabilities"])
def test_what_is_fixed_in_an_instance_makes_the_release(key: str) -> None:
    assert releases.release({**WEB, key: ["other"]}) != releases.release(WEB)


def test_each_layer_on_a_clean_host() -> None:
    plan = host_plan({}, declared([WEB]))
    name = "web-" + releases.release(WEB)
    assert plan["slices"] == [{"name": name.replace("-", "/"), "memory_max": "256M"}]
    assert plan["rootfs"] == [{"name": name, "service": "web", "source": WEB["rootfs"]["source"]}]
    (service,) = plan["services"]
    assert service["name"] == service["rootfs"] == name
    assert service["gate"] == {"min_healthy_time": "1s", "deadline": "1m", "auto_revert": True}
    assert "replaces" not in service
    assert not {"ports", "resources"} & set(service)
    assert plan["remove"] == {"services": [], "rootfs": [], "slices": []}
    assert plan["begins"]


def test_a_time_zone_has_a_file_to_be_mounted_on() -> None:
    laid = {"path": "/etc/localtime", "content": "", "mode": "0644"}
    asked = {**WEB, "timezone": "Europe/Vienna"}
    (rootfs,) = host_plan({}, declared([asked]))["rootfs"]
    assert rootfs["files"] == [laid]
    other = {"path": "/etc/motd", "content": "hello"}
    for files, wanted in (([other], [other, laid]), ([{**laid, "mode": "0600"}], [{**laid, "mode": "0600"}])):
        plan = host_plan({}, declared([{**asked, "rootfs": {**WEB["rootfs"], "files": files}}]))
        assert plan["rootfs"][0]["files"] == wanted
        assert plan["services"][0]["timezone"] == "Europe/Vienna"
    assert releases.release(asked) != releases.release(WEB)


def test_what_is_deployed_does_not_begin_anew() -> None:
    info = {"services": [instance("web", releases.release(WEB), "started")], "portmaps": [{"name": "web"}]}
    plan = host_plan(info, declared([WEB]))
    assert not plan["begins"]
    assert "replaces" not in plan["services"][0]


def test_a_new_release_replaces_the_running_one_and_older_ones_go() -> None:
    info = {
        "services": [
            instance("web", "aaaaaaa", updated=1),
            instance("web", "bbbbbbb", "started", updated=2),
            instance("web", "ccccccc", updated=3),
            instance("web-api", "ddddddd", "started", updated=4),
            {**instance("web", "eeeeeee", "started"), "project": "other"},
        ],
        "portmaps": [{"name": "web"}],
    }
    plan = host_plan(info, declared([WEB]))
    assert plan["services"][0]["beside"] == "web-bbbbbbb"
    assert [entry["name"] for entry in plan["remove"]["services"]] == ["web-ccccccc", "web-aaaaaaa"]
    assert [entry["name"] for entry in plan["remove"]["slices"]] == ["web/ccccccc", "web/aaaaaaa"]


def test_what_a_failed_deployment_prepared_goes() -> None:
    name = "web-" + releases.release(WEB)
    mine = {"project": "default"}
    info = {
        "services": [instance("web", "aaaaaaa", "started")],
        "rootfs": [
            {"name": entry, **mine} for entry in ("web-aaaaaaa", "web-bbbbbbb", "web-data", "other-ccccccc", name)
        ],
        "slices": [{"name": entry, **mine} for entry in ("web", "web/aaaaaaa", "web/bbbbbbb", name.replace("-", "/"))],
    }
    info["rootfs"].append({"name": "web-ddddddd", "project": "theirs"})
    remove = host_plan(info, declared([WEB]))["remove"]
    assert [entry["name"] for entry in remove["rootfs"]] == ["web-bbbbbbb"]
    assert [entry["name"] for entry in remove["slices"]] == ["web/bbbbbbb"]
    assert remove["services"] == []


def test_pruning_is_asked_for_and_capped() -> None:
    info = {
        "services": [instance("old", "aaaaaaa", "started"), instance("older", "bbbbbbb")],
        "portmaps": [{"name": "old"}],
    }
    assert host_plan(info, declared([WEB]))["remove"]["services"] == []
    with pytest.raises(releases.PlanError, match=r"would remove 2 services \(old, older\), more than"):
        host_plan(info, declared([WEB], prune=True))
    plan = host_plan(info, declared([WEB], prune=True, prune_max=2))
    assert [entry["name"] for entry in plan["remove"]["services"]] == ["old-aaaaaaa", "older-bbbbbbb"]
    assert {"name": "old", "state": "absent"} in plan["portmaps"]


def test_only_some_services_never_prunes() -> None:
    info = {"services": [instance("old", "aaaaaaa")]}
    api = {**WEB, "name": "api", "ports": []}
    plan = host_plan(info, declared([WEB, api], only=["api"], prune=True))
    assert [entry["service"] for entry in plan["services"]] == ["api"]
    assert plan["remove"]["services"] == []
    with pytest.raises(releases.PlanError, match="not declared: wbe"):
        host_plan(info, declared([WEB], only=["wbe"]))


def test_ports_that_are_no_longer_declared_are_closed() -> None:
    plan = host_plan({"portmaps": [{"name": "web"}]}, declared([{**WEB, "ports": []}]))
    assert plan["portmaps"] == [{"name": "web", "state": "absent"}]


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([WEB, WEB], "service web is declared twice"),
        ([{"name": "web", "command": ["a"]}], "service web .*: rootfs is missing"),
        ([{"rootfs": {}}], "a service has no name"),
        ([WEB, {**WEB, "name": "api"}], "host port 80/tcp is published by two services: web and api"),
        (
            [WEB, {**WEB, "name": "api", "ports": [{"host_port": "79-81", "host_address": "127.0.0.1"}]}],
            "host port 80/tcp is published by two services",
        ),
        ([{**WEB, "ports": [{"port": 3000}]}], "needs a host_port"),
        ([{**WEB, "strategy": "magic"}], "strategy: 'magic' is not known"),
    ],
)
def test_contradictions_are_refused(services: list[Data], message: str) -> None:
    with pytest.raises(releases.PlanError, match=message):
        host_plan({}, declared(services))


def test_one_port_on_two_addresses_or_protocols_is_no_conflict() -> None:
    ports = [{"host_port": 80, "host_address": "127.0.0.1"}]
    other = {**WEB, "name": "api", "ports": [{"host_port": 80, "host_address": "192.0.2.1"}]}
    udp = {**WEB, "name": "dns", "ports": [{"host_port": 80, "protocol": "udp"}]}
    host_plan({}, declared([{**WEB, "ports": ports}, other, udp]))


def test_ports_get_the_addresses_of_their_instance() -> None:
    service = {**WEB, "service_address": "10.88.255.7"}
    plan = host_plan({}, declared([service]))
    name = plan["services"][0]["name"]
    results = [{"name": name, "service": {"addresses": [{"bridge": "iso0", "ipv4": "10.88.0.2", "ipv6": "fd88::2"}]}}]
    (element,) = _targets.portmaps(plan, results)
    assert [mapping["address"] for mapping in element["mappings"]] == ["10.88.0.2", "fd88::2"]
    assert element["service_addresses"] == [{"address": "10.88.255.7", "to": "10.88.0.2"}]
    with pytest.raises(_targets.TargetError, match="has no ipv4 or ipv6 address"):
        _targets.portmaps(plan, [{"name": name, "service": {"addresses": []}}])


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        ({"deny_from": ["10.6.0.0/16"]}, [{"deny_from": ["10.6.0.0/16"]}, {"deny_from": []}]),
        (
            {"allow_from": ["10.0.0.0/8", "fd00::/8"]},
            [{"allow_from": ["10.0.0.0/8"]}, {"allow_from": ["fd00::/8"]}],
        ),
        ({"allow_from": ["fd00::/8"]}, [{"allow_from": ["fd00::/8"]}]),
    ],
)
def test_clients_by_family(clients: dict[str, list[str]], expected: list[dict[str, list[str]]]) -> None:
    """A port for clients of one family only is not open to everybody of the other one."""
    addresses = {"ipv4": "10.88.0.2", "ipv6": "fd88::2"}
    plan = {
        "portmaps": [
            {"name": "web", "instances": ["i"], "service_address": None, "ports": [{"host_port": 80, **clients}]}
        ]
    }
    (element,) = _targets.portmaps(plan, [{"name": "i", "service": {"addresses": [addresses]}}])
    shown = [{key: mapping[key] for key in clients} for mapping in element["mappings"]]
    assert shown == expected
    if len(expected) == 1:
        del addresses["ipv6"]
        with pytest.raises(_targets.TargetError, match="for clients of allow_from"):
            _targets.portmaps(plan, [{"name": "i", "service": {"addresses": [addresses]}}])


def test_planning_leaves_its_input_alone() -> None:
    data = declared([WEB])
    before = copy.deepcopy(data)
    json.dumps(planning.host_plan({}, data))
    assert data == before


def test_removal_takes_inner_slices_first() -> None:
    info = {"slices": [{"name": "web"}, {"name": "web/b"}, {"name": "api"}], "bridges": [{"name": "iso0"}]}
    found = removal.of_everything(info)
    assert [entry["name"] for entry in found["slices"]] == ["web/b", "api", "web"]
    assert found["bridges"] == [{"name": "iso0", "state": "absent"}]


def test_removal_purges_volumes_by_name() -> None:
    found = removal.of_everything({"volumes": [{"name": "web-data"}]})
    assert found["volumes"] == [{"name": "web-data", "state": "absent", "purge_volumes": ["web-data"]}]
