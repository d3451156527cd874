# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named volumes: what is asked for, what is planned, and what is refused."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import oci
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers.volumes import named
from ansible_collections.daemonless.isolation.plugins.module_utils._host.records import Record, SaveRecord
from ansible_collections.daemonless.isolation.plugins.module_utils._host.volumes import (
    MakeVolume,
    PurgeVolume,
    Volumes,
    users,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._service import supervise
from ansible_collections.daemonless.isolation.plugins.module_utils._service.bundle import Facts, config
from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.parse import parse
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import ServiceSpec
from ansible_collections.daemonless.isolation.plugins.module_utils._service.volumes import Plans

BASE = 1 << 21
OURS = Record("volume", "data", "default")


def mount(**given: t.Any) -> dict[str, t.Any]:
    return {"type": "volume", "source": "data", "target": "/var/data", "read_only": False, "exec": True, **given}


def spec(name: str = "web", *mounts: dict[str, t.Any], **given: t.Any) -> ServiceSpec:
    defaults = {option: rule.get("default") for option, rule in OPTIONS.items()}
    base = {"name": name, "rootfs": name, "command": ["/bin/app"], "mounts": list(mounts)}
    return parse({**defaults, **base, **given})


def plans(*specs: ServiceSpec, there: Volumes | None = None, services: t.Iterable[ServiceSpec] = ()) -> Plans:
    records = {one.name: Record("service", one.name, "default", one.record()) for one in services}
    return Plans(there or Volumes(), records, specs, "default")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "/srv/data"}, "type: bind"),
        ({"source": "Data"}, "not a valid name"),
        ({"source": ".."}, "not a valid name"),
        ({"source": None}, "not the name of a volume"),
        ({"target": "/proc/x"}, "/proc"),
        ({"type": "bind"}, "not an absolute path"),
    ],
)
def test_what_can_not_be_meant_is_refused(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(IsolationError, match=f"mounts: .*{message}"):
        spec("web", mount(**given))


def test_two_on_one_target_are_refused() -> None:
    with pytest.raises(IsolationError, match="more than one mount"):
        spec("web", mount(), mount(type="bind", source="/srv"))


def test_a_purge_belongs_to_a_removal() -> None:
    with pytest.raises(IsolationError, match="only with state: absent"):
        spec(purge_volumes=["data"])
    with pytest.raises(IsolationError, match=r"purge_volumes: .*not a valid name"):
        spec(state="absent", purge_volumes=["../x"])


def test_the_record_of_a_bind_mount_is_what_it_was() -> None:
    """A record that an older version wrote must not differ, or every service with a bind mount would be restarted."""
    record = spec(
        "web", mount(type="bind", source="/srv", target="/srv"), mount(source="b"), mount(source="a", target="/a")
    ).record()
    assert record["mounts"][0] == {"source": "/srv", "target": "/srv", "read_only": False, "exec": True}
    assert named(record) == ["a", "b"]
    assert named(json.loads(json.dumps(record))) == ["a", "b"]


def test_the_bundle_binds_what_the_helper_mounts() -> None:
    facts = Facts("/i/web", "/r", False, BASE, 0, 0, "x86_64", "/hook")
    asked = spec("web", mount(target="/var/data/in"), mount(source="other", read_only=True))
    outer, inner = config(asked, facts)["mounts"][-2:]
    assert (outer["destination"], outer["source"]) == ("/var/data", "/var/lib/isolation/instances/web/volumes/other")
    assert (inner["destination"], inner["source"]) == ("/var/data/in", "/var/lib/isolation/instances/web/volumes/data")
    assert {"bind", "ro", "rro", "rnosuid", "rnodev"} <= set(outer["options"])
    assert "ro" not in inner["options"]


@pytest.mark.parametrize("crun", [True, False])
def test_the_supervisor_mounts_before_each_start_and_unmounts_after(crun: bool) -> None:
    def texts(asked: ServiceSpec) -> tuple[str, str, str]:
        start = supervise.Start(asked, "/i/web", "/usr/bin/runtime", crun, "isolation/web/web", "web")
        files = supervise.runit_files(start)
        return (
            files["/etc/isolation/runit/sv/web/run"][0],
            files["/etc/isolation/runit/sv/web/finish"][0],
            supervise.unit_text(start),
        )

    run, finish, unit = texts(spec("web", mount()))
    helper = "/usr/local/libexec/isolation/volumes"
    assert run.index(f"{helper} mount web || return 1") < run.index("\n/usr/bin/runtime")
    assert finish.index("delete --force web") < finish.index(f"{helper} umount web")
    lines = [line for line in unit.splitlines() if line.startswith("Exec")]
    assert lines.index(f"ExecStartPre={helper} mount web") == 1
    assert lines.index(f"ExecStopPost=-{helper} umount web") > lines.index(
        "ExecStopPost=-/usr/bin/runtime delete --force web"
    )
    assert not any("volumes" in text for text in texts(spec()))


def test_a_volume_is_made_once() -> None:
    one, two = spec("one", mount(), mount(target="/second")), spec("two", mount())
    planned = plans(one, two)
    claim = planned.claim(one, "/root", BASE)
    assert claim.steps == (SaveRecord(OURS), MakeVolume("data", "/root", "/var/data", BASE))
    assert [(change.key, change.before, change.after) for change in claim.changes] == [("volume data", None, "empty")]
    assert planned.claim(two, None, BASE).steps == ()
    there = Volumes({"data": OURS}, frozenset({"data"}))
    assert plans(one, there=there).claim(one, None, BASE).changes == ()


def test_one_that_is_gone_is_made_again_and_one_of_nobody_is_refused() -> None:
    asked = spec("web", mount())
    gone = plans(asked, there=Volumes({"data": OURS})).claim(asked, None, BASE)
    assert (gone.changes[0].before, gone.changes[0].effect) == ("gone", "restart")
    assert [type(step) for step in gone.steps] == [MakeVolume]
    with pytest.raises(IsolationError, match="no record tells of it"):
        plans(asked, there=Volumes({}, frozenset({"data"}))).claim(asked, None, BASE)
    foreign = Volumes({"data": Record("volume", "data", "b")}, frozenset({"data"}))
    with pytest.raises(IsolationError, match="belongs to project 'b'"):
        plans(asked, there=foreign).claim(asked, None, BASE)
    purge = spec(state="absent", purge_volumes=["data"])
    with pytest.raises(IsolationError, match="belongs to project 'b'"):
        plans(purge, there=foreign).purge(purge)


def test_purge() -> None:
    """Refused while another instance uses it, also one of the same task; not by those that the task removes."""
    there = Volumes({"data": OURS}, frozenset({"data"}))
    web, other = spec("web", mount()), spec("other", mount())
    purge, last = (spec(name, state="absent", purge_volumes=["data"]) for name in ("web", "other"))
    with pytest.raises(IsolationError, match="purge_volumes: data is used by other"):
        plans(purge, there=there, services=[web, other]).purge(purge)
    with pytest.raises(IsolationError, match="used by other"):
        plans(purge, other, there=there, services=[web]).purge(purge)
    planned = plans(purge, last, there=there, services=[web, other])
    assert planned.purge(purge).steps == (PurgeVolume(OURS),)
    assert planned.purge(last).steps == ()
    assert plans(purge).purge(purge).changes == ()


def test_users() -> None:
    records = {name: Record("service", name, "default", spec(name, mount()).record()) for name in ("b", "a")}
    assert users({**records, "c": Record("service", "c", "default", {"mounts": []})}) == {"data": ["a", "b"]}


def test_the_helper_is_no_part_of_those_that_every_service_needs() -> None:
    assert "volumes" not in oci.HELPERS
