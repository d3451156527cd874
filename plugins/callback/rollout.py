# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show a rollout: batches, hosts, what each is at, why one failed. What is shown is decided in plugin_utils/_rollout_view.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: Show a rollout by batches, hosts and steps
version_added: 0.1.0
author:
  - daemonless.isolation contributors (@daemonless)
description:
  - Shows what the playbook C(daemonless.isolation.deploy) does as people want to see it. Batches with the canary, for each host what it is at (prepare, start
    and gate, cut over, drain and stop, wave by wave), and how many hosts are done.
  - Why a service did not come into service is told once, when it is known, and again at the end, by host.
  - On a terminal, what is going on is redrawn in place below the lines that stay. Elsewhere there are only lines that stay.
  - Other playbooks have a line for each task that changes or says something, or fails, on each host.
  - With C(-v), everything is shown as P(ansible.builtin.default#callback) shows it.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  live:
    description:
      - Whether what is going on is redrawn in place on a terminal. Set it to V(false) for screen readers, and for terminals that are recorded.
    type: bool
    default: true
    env:
      - name: ANSIBLE_ROLLOUT_LIVE
    ini:
      - section: callback_rollout
        key: live
  unchanged:
    description:
      - Whether there are lines for tasks that have changed nothing, too.
    type: bool
    default: false
    env:
      - name: ANSIBLE_ROLLOUT_UNCHANGED
    ini:
      - section: callback_rollout
        key: unchanged
  live_hosts:
    description:
      - How many hosts at most are shown in what is redrawn. Fewer are where the terminal is too low.
    type: int
    default: 12
    env:
      - name: ANSIBLE_ROLLOUT_LIVE_HOSTS
    ini:
      - section: callback_rollout
        key: live_hosts
requirements:
  - To be set as stdout callback, by C(stdout_callback=daemonless.isolation.rollout) in ansible.cfg or by E(ANSIBLE_STDOUT_CALLBACK).
"""

import atexit
import functools
import os
import shutil
import sys
import time
import typing as t

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.color import stringc

from ..plugin_utils._rollout_screen import BAD, CHANGED, GOOD, SOFT, Line, Screen
from ..plugin_utils._rollout_view import Outcome, Part, Task, Totals, View, cut

_PREFIX = "daemonless.isolation."
_BESIDE = frozenset({"changed", "failed", "skipped", "warnings", "deprecations"})

Method = t.Callable[..., None]


def _paint(line: Line) -> str:
    colors = {
        GOOD: constants.COLOR_OK,
        CHANGED: constants.COLOR_CHANGED,
        BAD: constants.COLOR_ERROR,
        SOFT: constants.COLOR_SKIP,
    }
    # It leaves the text alone where colors are off, as by NO_COLOR.
    return str(stringc(line.text, colors[line.style])) if line.style in colors and line.text else line.text


def _unless_verbose(method: Method) -> Method:
    """Have the default callback show it where people ask for more."""

    @functools.wraps(method)
    def call(self: CallbackModule, *args: t.Any, **kwargs: t.Any) -> None:
        if self._display.verbosity > 0:
            getattr(super(CallbackModule, self), method.__name__)(*args, **kwargs)
        else:
            method(self, *args, **kwargs)

    return call


def _field(result: t.Any, name: str) -> t.Any:
    """A field of a task's result, by the name that it has since ansible-core 2.19."""
    found = getattr(result, name, None)
    return found if found is not None else getattr(result, f"_{name}")


def _task(task: t.Any) -> Task:
    role = task._role.get_name() if task._role is not None else ""
    return Task(str(task.name or task.action), role, bool(task.run_once))


def _reason(result: t.Mapping[str, t.Any]) -> str:
    """Why a task failed, in its own words."""
    if "censored" in result:
        return str(result["censored"])
    said = str(result.get("msg") or "")
    more = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    return f"{said}\n{more}" if more and more not in said else said


def _names(result: t.Mapping[str, t.Any]) -> list[str]:
    """The objects that one of our modules has brought to what they are to be."""
    entries = [entry for entry in result.get("results") or [] if isinstance(entry, dict)]
    return [
        str(entry["name"]) for entry in entries if entry.get("changed") and not entry.get("failed") and "name" in entry
    ]


def _parts(result: t.Mapping[str, t.Any]) -> list[Part]:
    """What a task that is of several layers has done in each."""
    layers = result.get("layers")
    return [Part(str(name), _names(done)) for name, done in layers.items()] if isinstance(layers, dict) else []


def _lost(result: t.Mapping[str, t.Any]) -> str:
    """Why objects failed although the task goes on."""
    lost = result.get("lost") or (result.get("up") or {}).get("lost")
    if lost:
        return str(lost)
    failed = [entry for entry in result.get("results") or [] if isinstance(entry, dict) and entry.get("failed")]
    return _reason(result) if failed else ""


def _message(fields: t.Mapping[str, t.Any]) -> str:
    """What a debug task has to say: its message, or a variable by its name."""
    if "msg" in fields:
        said = fields["msg"]
        return "\n".join(map(str, said)) if isinstance(said, (list, tuple)) else str(said)
    return "\n".join(
        f"{key}: {value}" for key, value in fields.items() if not key.startswith("_") and key not in _BESIDE
    )


class CallbackModule(Default):
    """Hears from Ansible, and shows what the view makes of it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "daemonless.isolation.rollout"

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._screen: Screen | None = None
        self._items: dict[tuple[str, str], list[str]] = {}

    # -- showing ---------------------------------------------------------------------------------------------------

    @_unless_verbose
    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        self._view = View(bool(context.CLIARGS.get("check", False)), self.get_option("unchanged"))
        on_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if on_terminal and self.get_option("live"):
            self._screen = Screen(_paint)
            # Whatever ends the program: nothing is left below the last line.
            atexit.register(self._show, [], live=False)

    def _show(self, lines: t.Sequence[Line], live: bool = True) -> None:
        if self._screen is None:
            for line in lines:
                self._display.display(_paint(line))
            return
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except (OSError, ValueError):
            width, height = shutil.get_terminal_size()
        region = self._view.live(min(height - 3, self.get_option("live_hosts") + 1)) if live else []
        sys.stdout.write(self._screen.draw(lines, region, width))
        sys.stdout.flush()
        for line in lines:
            self._display.display(line.text, log_only=True)

    # -- hearing ---------------------------------------------------------------------------------------------------

    @_unless_verbose
    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        # Without the variables of hosts: which hosts there are is all that is of interest.
        known = play.get_variable_manager().get_vars(play=play, include_hostvars=False)
        batch, everybody = (
            [str(host) for host in known.get(key, [])] for key in ("ansible_play_batch", "ansible_play_hosts_all")
        )
        sizes = cut(len(everybody), [self._size(size, len(everybody)) for size in play.serial or []])
        self._show(self._view.play(str(play.get_name()), batch, everybody, sizes, time.monotonic()))

    @staticmethod
    def _size(size: t.Any, of: int) -> int:
        text = str(size)
        return max(1, int(text.rstrip("%")) * of // 100) if text.endswith("%") else int(text)

    @_unless_verbose
    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Nothing: a task that nothing is said about needs no heading."""

    @_unless_verbose
    def v2_playbook_on_cleanup_task_start(self, task: t.Any) -> None:
        """Nothing, as above."""

    @_unless_verbose
    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        """Nothing, as above."""

    @_unless_verbose
    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        lines = self._view.task()
        self._view.begins(host.get_name(), _task(task), time.monotonic())
        self._show(lines)

    @_unless_verbose
    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        """Nothing: a plan tells how many waves it has."""

    def _ended(self, result: t.Any, kind: str) -> None:
        fields, task = _field(result, "result"), _field(result, "task")
        # A result of many objects is looked at for what failed, not for what is to be shown of it.
        self._handle_warnings(fields)
        well = kind == "ok"
        ours = str(task.action).startswith(_PREFIX)
        items = self._items.pop(self._key(result), None)
        outcome = Outcome(
            kind,
            bool(fields.get("changed")),
            "" if well or kind == "skipped" else "\n".join(items or [_reason(fields)]),
            _names(fields) if well and ours else [],
            _lost(fields) if well and ours else "",
            _message(fields) if well and task.action in constants._ACTION_DEBUG else "",
            _parts(fields) if ours else [],
            str(fields.get("at") or "") if ours else "",
            len(fields.get("steps") or []) if ours else 0,
            "layers" in fields,
        )
        self._show(self._view.result(_field(result, "host").get_name(), _task(task), outcome, time.monotonic()))

    @_unless_verbose
    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._ended(result, "ok")

    @_unless_verbose
    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._ended(result, "ignored" if ignore_errors else "failed")

    @_unless_verbose
    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._ended(result, "skipped")

    @_unless_verbose
    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._ended(result, "unreachable")

    @_unless_verbose
    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Nothing: the task's own result comes."""

    @_unless_verbose
    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        """Keep why: the task's own result tells no more than that some failed."""
        fields = _field(result, "result")
        self._items.setdefault(self._key(result), []).append(f"{self._get_item_label(fields)}: {_reason(fields)}")

    @staticmethod
    def _key(result: t.Any) -> tuple[str, str]:
        return _field(result, "host").get_name(), str(_field(result, "task")._uuid)

    @_unless_verbose
    def v2_runner_item_on_skipped(self, result: t.Any) -> None:
        """Nothing, as above."""

    @_unless_verbose
    def v2_runner_retry(self, result: t.Any) -> None:
        """Nothing: what it is at stays in view."""

    @_unless_verbose
    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        """Nothing, as above."""

    @_unless_verbose
    def v2_runner_on_async_ok(self, result: t.Any) -> None:
        """Nothing: the task's own result comes."""

    @_unless_verbose
    def v2_runner_on_async_failed(self, result: t.Any) -> None:
        """Nothing, as above."""

    @_unless_verbose
    def v2_on_file_diff(self, result: t.Any) -> None:
        if self._screen is not None:
            self._show([], live=False)
        super().v2_on_file_diff(result)

    @_unless_verbose
    def v2_playbook_on_notify(self, handler: t.Any, host: t.Any) -> None:
        """Nothing: the handler's own result comes."""

    @_unless_verbose
    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._show([Line("no host matches", SOFT)])

    @_unless_verbose
    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._show([Line("no host is left", BAD)])

    @_unless_verbose
    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        totals = {}
        for host in sorted(stats.processed):
            counted = stats.summarize(host)
            totals[host] = Totals(counted["failures"], counted["unreachable"], counted["changed"], counted["rescued"])
        self._show(self._view.stats(totals, time.monotonic()), live=False)
