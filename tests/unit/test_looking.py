# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan is made of: all of it, and nothing that changes by itself."""

from __future__ import annotations

import string
import typing as t

import pytest
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.daemonless.isolation.plugins.module_utils._deploy import looking
from ansible_collections.daemonless.isolation.plugins.module_utils._deploy.braille import packed, unpacked
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record

WEB = {
    "name": "web-1",
    "project": "default",
    "service": "web",
    "state": "started",
    "options": {"held": False, "environment": ["PATH"]},
    "uptime": 3.5,
    "usage": {"memory": 1},
}


def host(monkeypatch: pytest.MonkeyPatch, unseen: t.Sequence[t.Any] = (), **more: t.Any) -> dict[str, t.Any]:
    found = {"services": [{**WEB, **more}], "portmaps": []}
    records = {"cgroup": [Record("cgroup", "web/1", "default", more), Record("cgroup", "db/1", "other", {})]}
    monkeypatch.setattr(looking, "gather", lambda *_asked: (found, list(unseen)))
    monkeypatch.setattr(looking, "load_records", lambda layer: {one.name: one for one in records.get(layer, [])})
    return looking.look("default")


def test_what_changes_by_itself_makes_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    info = host(monkeypatch)
    assert (info["slices"], info["rootfs"]) == ([{"name": "web/1", "project": "default"}], [])
    assert info["services"] == [
        {**{key: WEB[key] for key in ("name", "project", "service", "state")}, "options": {"held": False}}
    ]
    assert host(monkeypatch, uptime=4.5, usage={"memory": 2}) == info
    assert host(monkeypatch, state="stopped") != info


def test_a_host_that_can_not_be_seen_is_no_empty_host(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = {"subset": "services", "name": None, "reason": "permission denied: run as root (become: true)"}
    with pytest.raises(IsolationError, match=r"services: permission denied: run as root \(become: true\)"):
        host(monkeypatch, [hidden])


def test_what_a_host_tells_survives_the_blanking_out_of_any_text_that_people_write() -> None:
    info = {"services": [{"name": "wéb-1", "addresses": ["fd00::1"]}], "portmaps": []}
    text = packed(info)
    assert unpacked(text) == info
    assert unpacked(remove_values(text, [*string.printable, "é", "web"])) == info
