# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask all services of the host whose health is to be checked now, remember what they answered, and restart or stop those that are not well.

Managed by daemonless.isolation. Why it is there: neither systemd nor runit asks a service whether it is well. One timer of the host
(under runit, one sleeping process) runs it; it ends when all have answered. Whom to ask is told by the records of services, which it
only reads. A service that does not run is neither asked nor started: who has stopped it, had a reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
import typing as t

from .asking import Answer, Asker, check_of

__all__ = ["address_of", "again_mark", "checked", "ill_mark", "interval_of", "main", "read_state"]

RECORDS = "/etc/isolation/service"
RUNIT = "/etc/isolation/runit/sv"
PIDS = "/run/isolation/service"
STATES = "/run/isolation/health"
LOCK = "/run/isolation/lock"
HISTORY = 5
"""Answers of a service that are remembered."""
GRACE = 15.0
"""Seconds beyond its stop timeout after which a supervisor that has not ended a run is told again."""

Json = t.Dict[str, t.Any]


class Run(t.NamedTuple):
    """One run of a service: its first process, and when that began, in seconds since the host's start."""

    pid: int
    began: float


def checked(spec: t.Mapping[str, t.Any]) -> bool:
    """Whether a service, by its recorded options, is checked as long as it runs."""
    return bool((spec.get("health") or {}).get("on_failure"))


def interval_of(specs: t.Iterable[t.Mapping[str, t.Any]]) -> float | None:
    """The time between two looks at a host with such services: the shortest that one asks for; None if none is checked."""
    return min((float(spec["health"]["interval"]) for spec in specs if checked(spec)), default=None)


def address_of(assigned: t.Mapping[str, t.Any]) -> str | None:
    """Where the host asks a service: its first address."""
    return next((item.get("ipv4") or item.get("ipv6") for item in assigned.get("networks", [])), None)


def read_state(name: str) -> Json:
    """What is remembered of a service's health; empty if nothing is."""
    try:
        with open(os.path.join(STATES, name + ".json"), encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# -- what to do, as pure functions -----------------------------------------------------------------------------------


def renewed(state: t.Mapping[str, t.Any], run: Run, epoch: float) -> Json:
    """What is remembered, for the run that there is now: another one begins without failures."""
    if (state.get("pid"), state.get("began")) == (run.pid, run.began):
        return dict(state)
    return {
        **state,
        "pid": run.pid,
        "began": run.began,
        "status": "starting",
        "since": epoch,
        "failures": 0,
        "asked": None,
        "told": None,
        "well": False,
    }


def is_due(state: t.Mapping[str, t.Any], interval: float, tick: float, now: float) -> bool:
    """Whether to ask now. Looks are not on the dot: half of one early is better than nearly a whole one late."""
    return state.get("asked") is None or now - state["asked"] >= interval - tick / 2


def judged(
    state: t.Mapping[str, t.Any], health: t.Mapping[str, t.Any], answer: Answer, now: float, epoch: float
) -> Json:
    """What is remembered after an answer. That a service could not be asked is told, but is no failure of it."""
    found = dict(state)
    found["last"] = [
        *state.get("last", []),
        {"time": epoch, "ok": not answer.wrong, "message": answer.wrong or None, "seconds": round(answer.seconds, 3)},
    ][-HISTORY:]
    status = found["status"]
    if not answer.asked:
        return found
    if not answer.wrong:
        found["failures"], status, found["well"] = 0, "healthy", True
    elif status != "starting" or now - found["began"] >= health["start_period"]:
        found["failures"] += 1
        if found["failures"] >= health["retries"]:
            status = "unhealthy"
    if status != found["status"]:
        found["status"], found["since"] = status, epoch
    return found


def next_action(
    state: t.Mapping[str, t.Any], on_failure: str, stop_timeout: float, now: float, deployed_since: float | None
) -> str | None:
    """What to do with a service: restart, stop, kill (it was told to end long ago), or nothing.

    `deployed_since` is when a run of a module began that is still going: what has been started since then is its matter.
    """
    if state.get("status") != "unhealthy" or on_failure == "none":
        return None
    if state.get("told") is not None:
        return "kill" if now - state["told"] >= stop_timeout + GRACE else None
    if deployed_since is not None and state["began"] >= deployed_since:
        return None
    return on_failure


def told(state: t.Mapping[str, t.Any], action: str, now: float, epoch: float) -> Json:
    """What is remembered after something was done."""
    found = {**state, "told": now}
    if action == "kill":
        return found
    found["restarts"] = state.get("restarts", 0) + (action == "restart")
    found["action"] = {"action": action, "time": epoch, "message": state["last"][-1]["message"]}
    return found


# -- the host ----------------------------------------------------------------------------------------------------------


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _epoch() -> float:
    return round(time.time(), 3)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def unit_of(name: str) -> str:
    """The systemd unit of an instance, whose name has only letters, digits and dashes."""
    return "isolation-" + name.replace("-", "\\x2d") + ".service"


def _run_of(name: str) -> Run | None:
    """The run of a service that is going on; None if it is stopped, or waits for its next start. A pid file may be older than who has
    the number now: the control group tells.
    """
    pid = _read(os.path.join(PIDS, name + ".pid")).strip()
    if not pid.isdigit():
        return None
    groups = _read(f"/proc/{pid}/cgroup").splitlines()
    if not any(part in (name, unit_of(name)) for line in groups for part in line.split("/")):
        return None
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return Run(int(pid), int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def _records() -> dict[str, Json]:
    """The records of services that are checked, by name."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir(RECORDS):
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                if entry.endswith(".json") and not entry.startswith("."):
                    record = json.loads(_read(os.path.join(RECORDS, entry)))
                    if checked(record["spec"]):
                        found[record["name"]] = record
    return found


def _save(name: str, state: t.Mapping[str, t.Any]) -> None:
    path = os.path.join(STATES, name + ".json")
    with open(path + ".new", "w", encoding="utf-8") as stream:
        json.dump(state, stream)
    os.rename(path + ".new", path)


def _deployed_since(now: float) -> float | None:
    """When the run of a module began that holds the host's lock; None if nobody does."""
    try:
        descriptor = os.open(LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return now - max(0.0, time.time() - os.fstat(descriptor).st_mtime) - 1  # one: clocks of files are coarse
    finally:
        os.close(descriptor)


def _systemctl(*words: str) -> str:
    import subprocess  # here, as most looks have nothing to do

    done = subprocess.run(
        ["systemctl", "--no-block", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd="/"
    )
    return "" if done.returncode == 0 else done.stdout.decode(errors="replace").strip()


def _control(name: str, letter: str) -> str:
    """Tell runsv something (runsv(8), CONTROL)."""
    try:
        descriptor = os.open(os.path.join(RUNIT, name, "supervise/control"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, letter.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"its runsv can't be told: {error.strerror}"
    return ""


def _act(name: str, action: str, well: bool) -> str:
    """Do it; returns what went wrong. Neither way starts a service that somebody else has begun to stop. `well` tells whether the run ever was."""
    if action == "restart" and not well:  # the back-off then lets the delay grow, however long the run was
        _mark(ill_mark(name))
    if os.path.isdir("/run/systemd/system"):
        unit = unit_of(name)
        if action == "kill":
            return _systemctl("kill", "--signal=KILL", "--", unit)
        return _systemctl("try-restart" if action == "restart" else "stop", "--", unit)
    if action == "restart":  # its finish script then does not count the end as one after which it stays down
        _mark(again_mark(name))
    return _control(name, {"restart": "t", "stop": "d", "kill": "k"}[action])


def _mark(path: str) -> None:
    with open(path, "w", encoding="ascii"):
        pass


def ill_mark(name: str) -> str:
    """The file by which the back-off helper knows that the run that ends was never well."""
    return os.path.join(STATES, name + ".ill")


def again_mark(name: str) -> str:
    """The file by which the finish script of a runit service knows that it was ended to be started again."""
    return os.path.join(STATES, name + ".again")


class _Look:
    """One look at the host."""

    def __init__(self) -> None:
        self.asker = Asker()
        self.records: dict[str, Json] = {}
        self.states: dict[str, Json] = {}
        self.tick = 0.0

    def begin(self) -> None:
        """Begin to ask all that are due."""
        self.records = _records()
        self.tick = interval_of(record["spec"] for record in self.records.values()) or 0.0
        now, epoch = _now(), _epoch()
        for name, record in self.records.items():
            run = None if name in self.asker.names else _run_of(name)
            if run is None:
                continue
            state = renewed(read_state(name), run, epoch)
            if is_due(state, float(record["spec"]["health"]["interval"]), self.tick, now):
                self.states[name] = {**state, "asked": now}
                self.asker.ask(check_of(name, record["spec"]["health"], address_of(record["assigned"])))

    def go_on(self, longest: float) -> None:
        """Take answers, and do what follows from them."""
        for answer in self.asker.wait(longest):
            name = answer.name
            state = self.states.pop(name)
            run = _run_of(name) if name in self.records else None
            if run is None or (run.pid, run.began) != (state["pid"], state["began"]):
                continue  # it has ended meanwhile: of another run nobody knows yet
            record, now = self.records[name], _now()
            state = judged(state, record["spec"]["health"], answer, now, _epoch())
            if answer.asked:
                state = self._followed(name, record["spec"], state, now)
            _save(name, state)

    @staticmethod
    def _followed(name: str, spec: t.Mapping[str, t.Any], state: Json, now: float) -> Json:
        action = next_action(
            state, spec["health"]["on_failure"], float(spec["stop_timeout"]), now, _deployed_since(now)
        )
        if action is None:
            return state
        wrong = _act(name, action, bool(state.get("well", True)))
        done = {"restart": "restarted", "stop": "stopped", "kill": "killed"}[action]
        message = f"{state['failures']} failures in a row: {state['last'][-1]['message']}"
        sys.stderr.write(f"<4>{name}: {wrong or done}: {message}\n")  # a warning (sd-daemon(3))
        return state if wrong else told(state, action, now, _epoch())

    def forget(self) -> None:
        """Forget those that are not checked any more."""
        for entry in os.listdir(STATES):
            if entry.rpartition(".")[0] not in self.records and not entry.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(STATES, entry))


def main(_arguments: t.Sequence[str]) -> int:
    """Look at the host once; while some services take their time, at the others again."""
    os.makedirs(STATES, mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(STATES, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    look = _Look()
    look.begin()
    look.forget()
    again = _now() + look.tick
    while look.asker.names:
        look.go_on(max(0.05, again - _now()))
        if look.asker.names and _now() >= again:
            look.begin()
            again = _now() + look.tick
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
