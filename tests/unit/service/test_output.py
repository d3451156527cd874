# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Standard output of services under systemd: as it is by default, and through a pipe."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.daemonless.isolation.plugins.module_utils._host.files import RemoveFile, WriteFile
from ansible_collections.daemonless.isolation.plugins.module_utils._host.systemd import Systemctl
from ansible_collections.daemonless.isolation.plugins.module_utils._plan import Plan
from ansible_collections.daemonless.isolation.plugins.module_utils._service import output
from ansible_collections.daemonless.isolation.plugins.module_utils._service.changes import digest
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, kinds, one, settled, spec

UNITS = "/etc/systemd/system/"
PIPED = "isolation-output-web\\x2d1"


def texts(planned: Plan) -> dict[str, str]:
    """What is written, by path."""
    return {step.path: step.text for step in planned.prepare if isinstance(step, WriteFile)}


def host(**given: t.Any) -> t.Any:
    """A host with systemd where such a service runs."""
    return settled(spec("web-1", service="web", **given), systemd=True, watched=())


def test_it_is_as_it_was_unless_asked_for() -> None:
    plain = texts(one(spec("web-1", service="web"), bare("web-1", systemd=True, watched=())))
    assert not any("output" in path or "StandardOutput" in text for path, text in plain.items())


def test_a_pipe_is_held_by_a_socket_unit_and_read_by_another() -> None:
    """Names are escaped in the one way that each place takes (systemd.unit(5), systemd.exec(5))."""
    found = texts(one(spec("web-1", service="web", standard_output="pipe"), bare("web-1", systemd=True, watched=())))
    unit = found[UNITS + "isolation-web\\x2d1.service"]
    assert f"\nRequires={PIPED}.socket\nAfter={PIPED}.socket\n" in unit
    assert "\nStandardOutput=file:/run/isolation/output/web-1\nStandardError=inherit\n" in unit
    socket, reader = found[f"{UNITS}{PIPED}.socket"], found[f"{UNITS}{PIPED}.service"]
    assert "\nListenFIFO=/run/isolation/output/web-1\nSocketMode=0222\nDirectoryMode=0700\n" in socket
    assert "\nExecStart=/bin/sh -c 'exec /bin/cat /run/isolation/output/web-1 3<&-'\n" in reader
    assert 'is-active -- "isolation-output-web\\\\x2d1.service"; do' in socket, (
        "once for systemd, and a shell keeps it within quotes"
    )
    assert "\nLogExtraFields=OBJECT_SYSTEMD_UNIT=isolation-web\\\\x2d1.service\n" in reader


def test_no_limit_of_starts_ends_it() -> None:
    """A crash loop, and a reader that is killed again and again, would otherwise let the socket fail, and the service with it."""
    for text, _mode in output.unit_files("web", "isolation-web.service").values():
        assert "\nStartLimitIntervalSec=0\n" in text
    assert "\nTriggerLimitIntervalSec=0\n" in output.unit_files("web", "u")[UNITS + "isolation-output-web.socket"][0]


def test_under_runit_it_is_a_pipe_in_any_case() -> None:
    """The option says nothing there, and makes no file."""
    plain, piped = (texts(one(spec(standard_output=value), bare("web"))) for value in ("direct", "pipe"))
    assert {path: digest(text) for path, text in plain.items()} == {path: digest(text) for path, text in piped.items()}


def test_it_goes_when_it_is_not_asked_for_any_more() -> None:
    """After the restart, so that nothing is written into a pipe that nobody holds."""
    done = one(spec("web-1", service="web"), host(standard_output="pipe"))
    assert ("standard_output", "pipe", "direct", "restart") in [
        dataclasses.astuple(change)[:4] for change in done.changes
    ]
    removed = [step.path for step in done.prepare if isinstance(step, RemoveFile)]
    assert removed == [f"{UNITS}{PIPED}.service", f"{UNITS}{PIPED}.socket"]
    assert kinds(done.steps) == ["SaveRecord", "Start"]
    assert kinds(done.finish) == ["Dismiss", "RemoveFile", "AwaitHealth"]
    assert done.finish[1] == RemoveFile("/run/isolation/output/web-1", "/run/isolation/output")
    assert not one(spec("web-1", service="web", standard_output="pipe"), host(standard_output="pipe")).changes


def test_it_is_there_before_a_running_one_stops_for_it() -> None:
    """systemd executes ExecStopPost with the standard output that the unit has by then."""
    done = one(spec("web-1", service="web", standard_output="pipe"), host())
    assert kinds(done.steps) == ["SaveRecord", "Systemctl", "Start"]
    assert done.steps[1] == Systemctl("start", (f"{PIPED}.socket",))
    new = one(spec("web-1", service="web", standard_output="pipe"), bare("web-1", systemd=True, watched=()))
    assert "Systemctl" not in kinds(new.steps)


def test_it_goes_with_the_service() -> None:
    gone = one(spec("web-1", service="web", state="absent"), host(standard_output="pipe"))
    assert kinds(gone.prepare) == ["Stop", "Systemctl", "RemoveFile", "Dismiss", "RemoveFile", "RemoveFile"]
    assert "Dismiss" not in kinds(one(spec("web-1", service="web", state="absent"), host()).prepare)
