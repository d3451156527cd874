# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets: what is asked for, what is planned, and what is refused, without a value in any message."""

from __future__ import annotations

import base64
import dataclasses
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption, IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._hidden import Hidden
from ansible_collections.daemonless.isolation.plugins.module_utils._host import secrets as host
from ansible_collections.daemonless.isolation.plugins.module_utils._service import supervise
from ansible_collections.daemonless.isolation.plugins.module_utils._service.bundle import Facts, config
from ansible_collections.daemonless.isolation.plugins.module_utils._service.secret_options import (
    SECRET,
    parse_secrets,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._service.secrets import (
    SecretPlan,
    check_offered,
    effect,
    owners,
    plan_secrets,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import Secret, ServiceSpec
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, kinds, one, settled, spec

VALUE = "Canary-4711"
BASE = 1 << 21
LIVE = (BASE + 1000, BASE + 1001, 0o400)


def declared(name: str = "key", **more: t.Any) -> dict[str, t.Any]:
    return {**{option: rule.get("default") for option, rule in SECRET.items()}, "name": name, **more}


def parsed(*secrets: dict[str, t.Any], values: t.Any = None, **options: t.Any) -> tuple[Secret, ...]:
    return parse_secrets({"secrets": list(secrets), "secret_values": values, **options}, "web-1", "web")[0]


def planned(seen: host.Seen | None, running: bool = True, sealing: bool = True, **secret: t.Any) -> SecretPlan:
    """The plan of one secret that the host has as `seen`."""
    secret = {"value": None, **secret}
    asked = ServiceSpec("web-1", "web", secrets=(Secret("key", "key", **secret),))
    there = host.Secrets({"web-1": {"key": seen}} if seen else {}, {}, sealing, "")
    return plan_secrets(asked, there, BASE, {"key": "1000:1001"}, running)


def told(plan: SecretPlan) -> list[tuple[str, t.Any, t.Any, str]]:
    return [(change.key, change.before, change.after, change.effect) for change in plan.changes]


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ({"name": None}, "name: needed"),
        ({"name": "../x"}, "name: needed"),
        ({"name": ".x"}, "name: needed"),
        ({"name": "x" * 65}, "name: needed"),
        ({"target": "/etc/key"}, "directly below /run/secrets"),
        ({"target": "/run/secrets/a/b"}, "directly below /run/secrets"),
        ({"target": "/run/secrets/../x"}, "directly below /run/secrets"),
        ({"mode": "0600"}, "reading only"),
        ({"mode": "0000"}, "reading only"),
        ({"mode": "0444x"}, "reading only"),
        ({"user": "a:b"}, "user: write a number"),
        ({"group": ""}, "group: write a number"),
    ],
)
def test_declarations_that_are_refused(secret: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        parsed(declared(**secret))


def test_declarations() -> None:
    first, second = parsed(declared("b", target="/run/secrets/x"), declared("a", mode="440", user="app", persist=False))
    assert (first.name, first.target, first.mode, first.user, first.persist) == ("a", "a", 0o440, "app", False)
    assert second.canonical() == {
        "name": "b", "target": "x", "user": None, "group": None, "mode": "0400", "on_change": "restart", "persist": True,
    }  # fmt: skip
    for twice in ((declared("a"), declared("a")), (declared("a"), declared("b", target="a"))):
        with pytest.raises(InvalidOption, match="two of them have the same"):
            parsed(*twice)
    for option in ("mounts", "tmpfs"):
        with pytest.raises(InvalidOption, match="belongs to the option secrets"):
            parsed(declared(), **{option: [{"target": "/run/secrets/x"}]})


def test_the_closest_value_is_taken() -> None:
    values = {
        "key": "of everybody",
        "web/key": "of the service",
        "web-1/key": "of the instance",
        "web-2/key": "of another",
    }
    for name in ("web-1/key", "web/key", "key"):
        (secret,) = parsed(declared(), values=values)
        assert secret.value == Hidden(values.pop(name).encode())
    assert parsed(declared(), values=values)[0].value is None
    assert parsed(declared(), values={"key": 12345678})[0].value == Hidden(b"12345678")


@pytest.mark.parametrize(
    "value", ["short", "", None, True, 1.5, ["Canary-4711"], {"a": "Canary-4711"}, "aaabbbcccaaa", "isolation", 1234567]
)
def test_values_that_are_refused(value: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"secret_values: key: (too short|must be a text)"):
        parsed(declared(), values={"key": value})


@given(st.text(st.characters(), min_size=8), st.sampled_from(["text", "base64"]))
def test_no_refusal_has_a_value_in_it(value: str, encoding: str) -> None:
    said = ""
    try:
        said = repr(parsed(declared(encoding=encoding), values={"key": value}))
    except InvalidOption as error:
        said = str(error)
    assert value not in said


@given(st.binary(min_size=6, max_size=200))
def test_base64_is_what_it_says(value: bytes) -> None:
    text = base64.b64encode(value).decode()
    if len(set(text)) >= 4:
        assert parsed(declared(encoding="base64"), values={"key": text})[0].value == Hidden(value)


@pytest.mark.parametrize(
    ("option", "value", "place"),
    [
        ("environment", {"DB": f"pg://app:{VALUE}@db"}, "environment: DB"),
        ("environment", {VALUE: "1"}, "environment"),
        ("command", ["/bin/app", f"--key={VALUE}"], "command"),
        ("mounts", [{"source": f"/srv/{VALUE}", "target": "/x"}], "mounts: source"),
        ("hostname", VALUE, "hostname"),
    ],
)
def test_a_secret_that_stands_elsewhere_is_refused(option: str, value: t.Any, place: str) -> None:
    with pytest.raises(InvalidOption, match=f"web-1: {place}: has the value of secret key in it") as caught:
        parsed(declared(), values={"key": VALUE}, **{option: value})
    assert VALUE not in str(caught.value)


def test_a_value_for_nobody_is_refused() -> None:
    asked = [spec("a", secrets=[declared()], secret_values={"key": VALUE, "keys": VALUE}), spec("b")]
    with pytest.raises(IsolationError, match="secret_values: keys: no service of this task") as caught:
        check_offered(asked)
    assert VALUE not in str(caught.value)
    check_offered([spec("a", secrets=[declared()], secret_values={"web/key": VALUE, "a/key": VALUE})])
    check_offered([spec("a", state="absent", secrets=[declared()], secret_values={"key": VALUE})])


OLD, NEW = Hidden(b"of before"), Hidden(b"of now, longer")
SAME = host.Seen(OLD, LIVE, {"sealed": True})


@pytest.mark.parametrize(
    ("seen", "given", "changes", "steps"),
    [
        (None, {"value": NEW}, [("secret key", None, "set", "restart")], ["KeepSecret", "ShowSecret"]),
        (None, {"value": NEW, "persist": False}, [("secret key", None, "set", "restart")], ["ShowSecret"]),
        (SAME, {"value": OLD}, [], []),
        (SAME, {}, [], []),
        (SAME, {"value": NEW}, [("secret key", "set", "changed", "restart")], ["KeepSecret", "ShowSecret"]),
        (SAME, {"value": NEW, "on_change": "none"}, [("secret key", "set", "changed", "live")], ["KeepSecret", "ShowSecret"]),
        (SAME, {"value": NEW, "on_change": "reload"}, [("secret key", "set", "changed", "live")], ["KeepSecret", "ShowSecret"]),
        (SAME, {"persist": False}, [("secret key kept", "encrypted", None, "live")], ["ForgetSecret", "ShowSecret"]),
        (
            host.Seen(OLD, LIVE, {"plain": True}), {}, [("secret key kept", "for root only", "encrypted", "live")],
            ["KeepSecret", "ShowSecret"],
        ),
        (
            host.Seen(OLD, LIVE, {"sealed": False}), {}, [("secret key kept", "out of date", "encrypted", "live")],
            ["KeepSecret", "ShowSecret"],
        ),
        (host.Seen(OLD, LIVE), {}, [("secret key kept", None, "encrypted", "live")], ["KeepSecret", "ShowSecret"]),
        (
            host.Seen(OLD, (0, 0, 0o444), {"sealed": True}), {},
            [("secret key file", "0:0 0444", f"{BASE + 1000}:{BASE + 1001} 0400", "live")], ["ShowSecret"],
        ),
        (host.Seen(OLD, None, {"sealed": True}), {}, [("secret key", "not in place", "set", "live")], ["ShowSecret"]),
    ],
)  # fmt: skip
def test_what_a_secret_takes(
    seen: host.Seen | None, given: dict[str, t.Any], changes: list[t.Any], steps: list[str]
) -> None:
    plan = planned(seen, **given)
    assert told(plan) == changes
    assert kinds(plan.steps) == steps
    assert not {"of before", "of now"} & set(repr(plan).split("'"))


def test_a_reload_is_asked_for_once() -> None:
    assert planned(SAME, value=NEW, on_change="reload").reload
    for other in ({"on_change": "reload"}, {"value": NEW}, {"value": NEW, "on_change": "none"}):
        assert not planned(SAME, **t.cast(t.Any, other)).reload
    assert not planned(SAME, running=False, value=NEW, on_change="reload").reload


def test_what_a_boot_restores_is_no_change() -> None:
    assert planned(host.Seen(OLD, None, {"sealed": True}), running=False).changes == ()
    with pytest.raises(IsolationError, match="secret key: this host has no value of it"):
        planned(host.Seen(None, None, {}), running=False)


def test_without_encryption_a_warning_says_so() -> None:
    assert "readable by root only" in planned(None, sealing=False, value=NEW).warnings[0]
    assert planned(None, sealing=False, value=NEW, persist=False).warnings == ()
    assert planned(host.Seen(OLD, LIVE, {"plain": True}), sealing=False).warnings == ()


def test_what_is_no_longer_asked_for_goes() -> None:
    paths = (f"{host.STORE}/web-1/sealed.old", "/run/isolation/secrets/web-1/old", "/run/isolation/secrets/web-1/.x.7")
    there = host.Secrets({}, {"web-1": paths}, True, "")
    plan = plan_secrets(ServiceSpec("web-1", "web"), there, BASE, {}, True)
    assert told(plan) == [("secret .x.7", "set", None, "live"), ("secret old", "set", None, "live")]
    assert plan.late == (host.RemoveStrays("web-1", paths),)


def test_what_a_change_of_the_option_does() -> None:
    before = [Secret("key", "key").canonical()]
    for live in ({"on_change": "none"}, {"persist": False}):
        assert effect(before, [{**before[0], **live}]) == "live"
    for other in ({"mode": "0440"}, {"target": "x"}, {"user": "0"}, {"group": "0"}, {"name": "x"}):
        assert effect(before, [{**before[0], **other}]) == "restart"
    assert effect([], before) == effect(before, []) == "restart"


def test_owners() -> None:
    root = bare("web").roots["web"]
    secrets = (
        Secret("a", "a"), Secret("b", "b", user="app"), Secret("c", "c", group="extra"), Secret("d", "d", user="7", group="8"),
    )  # fmt: skip
    found = owners(ServiceSpec("web", "web", secrets=secrets), root, (5, 6))
    assert found == {"a": "5:6", "b": "1000:1001", "c": "5:1002", "d": "7:8"}


@pytest.mark.parametrize("on_systemd", [False, True])
def test_a_service_with_secrets_in_whole(on_systemd: bool) -> None:
    parts: dict[str, t.Any] = {"systemd": on_systemd, "watched": () if on_systemd else ("/etc/service",)}
    asked = spec(secrets=[declared()], secret_values={"key": VALUE}, user="app")
    plan = one(asked, bare("web", **parts))
    assert VALUE not in repr(plan)
    assert kinds(plan.prepare).index("ShowSecret") < len(plan.prepare)
    record = next(step.record for step in plan.steps if hasattr(step, "record"))
    assert record.assigned["secrets"] == {"key": "1000:1001"}
    world = settled(asked, **parts)
    base = record.assigned["id_base"]
    form = host.SEALED if on_systemd else host.PLAIN
    there = host.Secrets(
        {"web": {"key": host.Seen(Hidden(VALUE.encode()), (base + 1000, base + 1001, 0o400), {form: True})}}, {}, on_systemd, ""
    )  # fmt: skip
    world = dataclasses.replace(world, secrets=there, helpers={**world.helpers, host.HELPER: ("", 0o755)})
    assert one(asked, world).changes == ()
    rotated = one(spec(secrets=[declared()], secret_values={"key": VALUE + "2"}, user="app"), world)
    assert [change.key for change in rotated.changes] == ["secret key"]
    assert "Start" in kinds(rotated.steps)
    quiet = one(spec(secrets=[declared(on_change="none")], secret_values={"key": VALUE + "2"}, user="app"), world)
    assert "Start" not in kinds(quiet.steps)
    signal: dict[str, t.Any] = {
        "secrets": [declared(on_change="reload")],
        "user": "app",
        "secret_values": {"key": VALUE + "2"},
    }
    with pytest.raises(IsolationError, match="reload_signal: needed with on_change: reload"):
        spec(**signal)
    told_so = one(spec(**signal, reload_signal="HUP"), world)
    assert ("Start" in kinds(told_so.steps), "Reload" in kinds(told_so.steps)) == (False, True)


def test_the_bundle_and_the_supervisor_know_where_not_what() -> None:
    asked = spec(
        secrets=[declared()], secret_values={"key": VALUE}, tmpfs=[{"target": "/run", "size": "1M", "mode": "755"}]
    )
    facts = Facts("/b", "/r", False, BASE, 0, 0, "x86_64", "/hook")
    mounts = config(asked, facts)["mounts"]
    targets = [mount["destination"] for mount in mounts]
    assert targets.index("/run") < targets.index("/run/secrets")
    (mount,) = [mount for mount in mounts if mount["destination"] == "/run/secrets"]
    assert mount["source"] == "/run/isolation/secrets/web"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount["options"])
    for start in (supervise.Start(asked, "/b", "crun", True, "c/web", None),):
        texts = [supervise.unit_text(start), *(text for text, _mode in supervise.runit_files(start).values())]
        assert VALUE not in "".join(texts)
        assert "\nExecStartPre=/usr/local/libexec/isolation/secrets restore web\n" in texts[0]
        assert "\n/usr/local/libexec/isolation/secrets restore web || return 1\n" in texts[1]
    plain = supervise.Start(spec(), "/b", "crun", True, "c/web", None)
    assert "secrets" not in supervise.unit_text(plain) + str(supervise.runit_files(plain))
