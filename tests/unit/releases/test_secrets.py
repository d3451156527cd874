# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of an inventory: what is part of a release, what a host is sent, and what would show a value."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._rollout import releases, secrets
from ansible_collections.daemonless.isolation.plugins.module_utils._service.secret_options import SECRET
from ansible_collections.daemonless.isolation.tests.unit.releases.test_releases import WEB, declared, host_plan

SECRETS = {**WEB, "secrets": [{"name": "db_password"}]}
CANARY = "canary-4711"


def test_names_make_the_release_but_not_what_changes_live() -> None:
    plain = releases.release(SECRETS)
    assert plain != releases.release(WEB)
    for live in ({"on_change": "none"}, {"persist": False}, {"encoding": "base64"}):
        assert releases.release({**WEB, "secrets": [{"name": "db_password", **live}]}) == plain
    for fixed in ({"target": "x"}, {"mode": "0440"}, {"user": "1"}, {"group": "1"}, {"name": "y"}):
        assert releases.release({**WEB, "secrets": [{"name": "db_password", **fixed}]}) != plain


def test_a_service_may_declare_what_the_module_takes() -> None:
    assert set(SECRET) == secrets.KEYS


def test_a_host_is_sent_what_it_needs() -> None:
    plan = host_plan({}, declared([SECRETS]))
    instance = plan["services"][0]["name"]
    needed = {"db_password": "a", "web/db_password": "b", f"{instance}/db_password": "c"}
    assert secrets.secret_values(plan, {**needed, "other": "d", "api/db_password": "e"}) == needed
    assert secrets.secret_values(host_plan({}, declared([WEB])), needed) == {}


@pytest.mark.parametrize(
    ("service", "place"),
    [
        ({"environment": {"DB": f"pg://app:{CANARY}@db"}}, "environment: DB: has the value of secret web/db_password"),
        ({"command": ["/bin/app", CANARY]}, "command: has the value"),
        ({"rootfs": {**WEB["rootfs"], "files": [{"path": "/k", "content": CANARY}]}}, "rootfs: files: content: has"),
        ({"secret_values": {"db_password": CANARY}}, "give values in isolation_secret_values"),
        ({"secrets": [{"name": "db_password", "value": CANARY}]}, "secrets: value is not known here"),
    ],
)
def test_what_would_show_a_value_is_refused(service: dict[str, t.Any], place: str) -> None:
    values = {"web/db_password": CANARY, "short": "1", "number": 4711}
    with pytest.raises(releases.PlanError, match=place) as caught:
        host_plan({}, declared([{**SECRETS, **service}], secret_values=values))
    assert CANARY not in str(caught.value)
    assert host_plan({}, declared([SECRETS], secret_values=values))["services"]
    assert host_plan({}, declared([SECRETS], secret_values=CANARY))["services"]
