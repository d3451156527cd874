# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wave of a deployment: in which order layers are driven, and what becomes of those of which one fails."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._deploy import doing
from ansible_collections.daemonless.isolation.plugins.module_utils._deploy.asking import Refused
from ansible_collections.daemonless.isolation.plugins.module_utils._deploy.braille import unpacked
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._runner import Done

Data = t.Dict[str, t.Any]
WEB, API = "web-2222222", "api-2222222"
WAVE: Data = {
    "slices": [{"name": "web/2222222"}],
    "rootfs": [{"name": WEB}],
    "holds": [],
    "services": [{"name": WEB}, {"name": API}],
    "portmaps": [
        {"name": name, "instances": [instance], "ports": [{"host_port": port, "port": 80}], "service_address": None}
        for name, instance, port in (("web", WEB, 80), ("api", API, 81))
    ],
    "ended": [
        {
            "instances": [instance],
            "elements": [{"name": f"{name}-1111111", "state": "stopped"}],
            "returns": [{"name": instance, "state": "stopped"}],
        }
        for name, instance in (("web", WEB), ("api", API))
    ],
    "returns": [{"name": WEB, "state": "stopped"}, {"name": API, "state": "stopped"}],
}
ADDRESSES = {WEB: "10.88.0.2", API: "10.88.0.3"}


class Host:
    """Layers that do nothing, and tell what they were asked for. `fails` are elements that fail, by kind; `refuses` is a kind that does nothing."""

    def __init__(self, fails: t.Mapping[str, t.Container[str]] | None = None, refuses: str = "") -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.fails, self.refuses = fails or {}, refuses

    def carry_out(
        self, layer: t.Any, elements: t.Sequence[Data], check: bool, hide: t.Any, guard: t.Any, **given: t.Any
    ) -> Done:
        names = [element["name"] for element in elements]
        self.asked.append((layer.kind, names))
        assert not check
        hide(["secret"])
        if layer.kind == self.refuses:
            raise IsolationError(f"{layer.kind} refuses")
        failed = self.fails.get(layer.kind, ())
        results = []
        for name in names:
            told: Data = {"unconfirmed": bool(given.get("confirm_timeout"))} if layer.kind == "portmap" else {}
            if name in ADDRESSES:
                told["addresses"] = [{"bridge": "iso0", "ipv4": ADDRESSES[name]}]
            results.append(
                {"name": name, "changed": True, "failed": name in failed, layer.kind: {"name": name, **told}}
            )
        trouble = "; ".join(f"{name} failed" for name in names if name in failed)
        return Done(results, [{"after": name} for name in names], [], trouble)


@pytest.fixture
def work() -> doing.Work:
    return doing.Work("default", lambda texts: None, None)


def host(monkeypatch: pytest.MonkeyPatch, **given: t.Any) -> Host:
    made = Host(**given)
    monkeypatch.setattr(doing, "carry_out", made.carry_out)
    return made


def test_a_wave_comes_up_from_below_and_is_finished(monkeypatch: pytest.MonkeyPatch, work: doing.Work) -> None:
    seen = host(monkeypatch)
    told = doing.bring_up(work, WAVE, {}, "2m")
    assert seen.asked == [
        ("slice", ["web/2222222"]),
        ("rootfs", [WEB]),
        ("service", [WEB, API]),
        ("portmap", ["web", "api"]),
    ]
    assert (told["more"], told["lost"]) == (True, "")
    assert list(work.told()["layers"]) == ["slices", "rootfs", "services", "portmaps"]
    assert work.told()["changed"]

    seen.asked.clear()
    later = doing.Work("default", lambda texts: None, None)
    doing.finish(later, told["going"], {"services": [{"name": "web-0"}], "rootfs": [{"name": "web-0"}], "slices": []})
    assert seen.asked == [
        ("portmap", ["web", "api"]),
        ("service", ["web-1111111", "api-1111111"]),
        ("service", ["web-0"]),
        ("rootfs", ["web-0"]),
    ]
    assert list(later.told()["layers"]) == ["confirm", "ended", "remove:services", "remove:rootfs"]


def test_to_confirm_is_no_change(monkeypatch: pytest.MonkeyPatch, work: doing.Work) -> None:
    host(monkeypatch)
    told = doing.bring_up(work, {**WAVE, "ended": []}, {}, "2m")
    later = doing.Work("default", lambda texts: None, None)
    doing.finish(later, told["going"], {})
    assert (later.told()["changed"], later.told()["diff"]) == (False, [])


def test_an_instance_that_fails_keeps_no_other_from_service(monkeypatch: pytest.MonkeyPatch, work: doing.Work) -> None:
    seen = host(monkeypatch, fails={"service": {API}})
    told = doing.bring_up(work, WAVE, {}, "2m")
    assert seen.asked[-1] == ("portmap", ["web"])
    assert told["lost"] == f"{API} failed"
    assert [element["name"] for element in unpacked(told["going"])["ended"]] == ["web-1111111"]


@pytest.mark.parametrize("given", [{"refuses": "portmap"}, {"fails": {"portmap": {"web"}}}], ids=str)
def test_ports_that_lead_nowhere_stop_what_was_started(
    monkeypatch: pytest.MonkeyPatch, work: doing.Work, given: t.Any
) -> None:
    seen = host(monkeypatch, **given)
    with pytest.raises(IsolationError, match=r"portmap refuses|web failed"):
        doing.bring_up(work, WAVE, {}, "2m")
    assert seen.asked[-1] == ("service", [WEB, API])
    assert work.at == "portmaps"
    assert "returns" in work.told()["layers"]


def test_what_lies_below_has_to_be_there(monkeypatch: pytest.MonkeyPatch, work: doing.Work) -> None:
    seen = host(monkeypatch, fails={"rootfs": {WEB}})
    with pytest.raises(Refused, match=f"{WEB} failed"):
        doing.bring_up(work, WAVE, {}, "2m")
    assert [kind for kind, _names in seen.asked] == ["slice", "rootfs"]
    assert work.at == "rootfs"
    assert work.told()["changed"], "what was done before is told"
