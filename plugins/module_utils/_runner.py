# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one runner: every module is a layer that this drives from options to result.

Read, desired, plan, apply, report, in this order. It alone knows of aggregates, the host's lock, check mode,
diffs and failures; a layer never hears of them.
"""

from __future__ import annotations

import abc
import collections
import gc
import traceback
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ._bulk import BulkModule, refusal, validate_entries, without_none
from ._errors import InvalidOption, IsolationError
from ._host.files import host_lock
from ._host.interpreter import ensure_libraries
from ._names import check_name
from ._phases import Outcome, apply_plan, undo
from ._plan import Change, Plan, TaskPlan

DIFF_LINES = 100
"""Lines of a diff that are shown for one element; the rest is counted."""

SpecT = t.TypeVar("SpecT")
WorldT = t.TypeVar("WorldT")

Options = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Request:
    """What one task asks for, beside its elements."""

    project: str
    expect: Options = field(default_factory=dict)


class Layer(abc.ABC, t.Generic[SpecT, WorldT]):
    """One kernel layer: validate, observe, plan. The steps of its plans know how to apply themselves.

    `kind` is the module's singular noun and the key of its result. `options` is the argument spec of one element,
    `name` among them (defaults allowed, `required` said by `rules`), `beside` that of options which stand beside
    `aggregate` only. `expects` are the kinds of promise that `expect` may hold, `libraries` the Python modules that
    steps import. `bulky` are options with thousands of entries and no secrets, validated by the runner itself.
    """

    kind: t.ClassVar[str]
    options: t.ClassVar[dict[str, t.Any]]
    beside: t.ClassVar[dict[str, t.Any]] = {}
    expects: t.ClassVar[tuple[str, ...]] = ()
    libraries: t.ClassVar[tuple[str, ...]] = ()
    bulky: t.ClassVar[tuple[str, ...]] = ()
    rules: t.ClassVar[dict[str, t.Any]] = {}
    """Rules of an element's argument spec: mutually_exclusive, required_if and the like."""

    @abc.abstractmethod
    def parse(self, options: Options, request: Request) -> SpecT:
        """One element's options as a canonical value. Pure.

        :raises InvalidOption: an option can't be meant; the message names it.
        """

    @abc.abstractmethod
    def observe(self, specs: t.Sequence[SpecT], request: Request) -> WorldT:
        """What the kernel and the records have. Reads only, with the standard library and the host's tools."""

    @abc.abstractmethod
    def plan(self, specs: t.Sequence[SpecT], world: WorldT, request: Request) -> TaskPlan:
        """What brings the world to the specs. Pure; one plan per spec, in their order.

        :raises IsolationError: something that was asked for can't be; nothing has been changed.
        """

    def hidden(self, specs: t.Sequence[SpecT], world: WorldT) -> t.Iterable[str]:
        """Texts to blank out in all that the module says, beside the values of `no_log` options. Pure."""
        return ()

    def settled(self, spec: SpecT) -> SpecT:
        """What a spec asks for once it is applied (`restarted` has become `started`)."""
        return spec


def _argument_spec(layer: Layer[t.Any, t.Any]) -> dict[str, t.Any]:
    spec: dict[str, t.Any] = {option: dict(rule) for option, rule in layer.options.items()}
    spec.update(layer.beside)
    spec.update(
        aggregate={"type": "list", "elements": "dict"},
        project={"type": "str", "default": "default"},
        on_error={"type": "str", "choices": ["continue", "stop"], "default": "continue"},
        lock_timeout={"type": "int", "default": 300},
    )
    if layer.expects:
        spec["expect"] = {
            "type": "dict",
            "default": {},
            "options": {kind: {"type": "list", "elements": "dict", "default": []} for kind in layer.expects},
        }
    return spec


def _check_rules(layer: Layer[t.Any, t.Any], element: Options) -> None:
    """Rules between options hold for an element once it is merged: what stands beside `aggregate` counts as given.

    Each value has been validated where it was given. What lies in it is not validated again.
    """
    shallow = {
        option: {key: value for key, value in rule.items() if key in ("type", "elements", "required", "choices")}
        for option, rule in layer.options.items()
        if option not in layer.bulky
    }
    validator = ArgumentSpecValidator(shallow, **layer.rules)
    wrong = refusal(validator.validate(without_none({key: element.get(key) for key in shallow})))
    if wrong:
        raise InvalidOption(f"{element.get('name')}: {wrong}")


def _bulk(layer: Layer[t.Any, t.Any], given: Options, what: str) -> dict[str, t.Any]:
    """The bulky options that were given, validated."""
    found = {}
    for option in layer.bulky:
        entries = given.get(option)
        if entries is not None and not isinstance(entries, list):
            raise InvalidOption(f"{what}: {option}: {entries!r} is not a list")
        if entries is not None:
            found[option] = validate_entries(entries, layer.options[option], f"{what}: {option}")
    return found


def merge_elements(layer: Layer[t.Any, t.Any], params: Options) -> list[dict[str, t.Any]]:
    """The elements of a task: an element's own value, else the value beside `aggregate`, else the default.

    :raises InvalidOption: an element has an unknown option, a value of the wrong type, or a name that another has.
    """
    beside = {option: params.get(option) for option in layer.options}
    beside.update(_bulk(layer, beside, str(beside.get("name") or "beside aggregate")))
    if params.get("aggregate") is None:
        _check_rules(layer, beside)
        return [beside]
    bare: dict[str, t.Any] = {
        option: {key: value for key, value in rule.items() if key not in ("default", "required")}
        for option, rule in layer.options.items()
        if option not in layer.bulky
    }
    validator = ArgumentSpecValidator(bare)
    elements = []
    for index, element in enumerate(params["aggregate"]):
        if not isinstance(element, dict):
            raise InvalidOption(f"aggregate element {index + 1}: {element!r} is not a dictionary of options")
        what = f"aggregate element {element.get('name') or index + 1}"
        checked = validator.validate({key: value for key, value in element.items() if key not in layer.bulky})
        wrong = refusal(checked)
        if wrong:
            raise InvalidOption(f"{what}: {wrong}")
        given = {**checked.validated_parameters, **_bulk(layer, element, what)}
        merged = {key: beside[key] if given.get(key) is None else given[key] for key in layer.options}
        merged["name"] = given.get("name")
        _check_rules(layer, merged)
        elements.append(merged)
    names = collections.Counter(element["name"] for element in elements)
    for name, times in names.items():
        if not name:
            raise InvalidOption("aggregate: every element needs a name")
        if times > 1:
            raise InvalidOption(f"aggregate: {name} is given more than once")
    return elements


def _show(value: t.Any) -> str:
    """A value in one line: what reads a diff again must not take a line of a value for an option."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_show(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_show(item)}" for key, item in value.items())
    return str(value).replace("\n", "\\n")


def _lines(changes: t.Sequence[Change], side: str) -> str:
    shown = [
        f"{change.key}: {_show(getattr(change, side))}"
        for change in changes[:DIFF_LINES]
        if getattr(change, side) is not None
    ]
    if len(changes) > DIFF_LINES and side == "after":
        shown.append(f"… and {len(changes) - DIFF_LINES} more")
    return "".join(line + "\n" for line in shown)


def make_diff(kind: str, plan: Plan) -> dict[str, str]:
    """The diff of one element, in the form that Ansible's callbacks show: a line for each option or mapping."""
    return {
        "before_header": f"{kind} {plan.name}",
        "after_header": f"{kind} {plan.name}",
        "before": _lines(plan.changes, "before"),
        "after": _lines(plan.changes, "after") + (f"effect: {plan.effect}\n" if plan.effect else ""),
    }


def _confirm(layer: Layer[t.Any, t.Any], specs: t.Sequence[t.Any], request: Request, outcomes: list[Outcome]) -> None:
    """Look again: what applied steps have left different is a failure, and results are what is, not what was meant."""
    specs = [layer.settled(spec) for spec in specs]
    again = layer.plan(specs, layer.observe(specs, request), request)
    for outcome, plan in zip(outcomes, again.elements):
        outcome.result = plan.result
        if outcome.error is None and plan.changed:
            differences = "; ".join(
                f"{change.key} is {_show(change.before)}, not {_show(change.after)}" for change in plan.changes
            )
            outcome.error = f"applied, but the host still differs: {differences}"
            undo(outcome, outcome.plan.recall)


def _naming(resource: str, message: str) -> str:
    """A message that names the resource, once."""
    return message if message.startswith(resource) else f"{resource}: {message}"


def _brief(value: t.Any) -> t.Any:
    """A task's arguments for its report, with long lists counted: Ansible walks through all of them several times."""
    if isinstance(value, list):
        return f"({len(value)} entries)" if len(value) > DIFF_LINES else [_brief(item) for item in value]
    if isinstance(value, dict):
        return {key: _brief(item) for key, item in value.items()}
    return value


def _results(layer: Layer[t.Any, t.Any], outcomes: t.Iterable[Outcome]) -> list[dict[str, t.Any]]:
    """One entry for each element."""
    results = []
    for outcome in outcomes:
        entry: dict[str, t.Any] = {
            "name": outcome.name,
            "changed": outcome.plan.changed,
            "failed": outcome.error is not None,
            layer.kind: {**outcome.result, **outcome.told},
        }
        if outcome.error is not None:
            entry["msg"] = outcome.error
        if outcome.plan.predicted:
            entry["predicted"] = True
        results.append(entry)
    return results


def _trouble(layer: Layer[t.Any, t.Any], outcomes: t.Iterable[Outcome]) -> str:
    """Why elements failed; empty if none did."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    return "; ".join(_naming(f"{layer.kind} {outcome.name}", str(outcome.error)) for outcome in failed)


def _diff(layer: Layer[t.Any, t.Any], plan: TaskPlan) -> list[dict[str, str]]:
    return [make_diff(layer.kind, element) for element in plan.elements if element.changed]


def _warnings(plan: TaskPlan) -> list[str]:
    return [warning for element in plan.elements for warning in element.warnings]


def _report(module: BulkModule, layer: Layer[t.Any, t.Any], plan: TaskPlan, outcomes: list[Outcome]) -> None:
    params = module.shown_params()
    results = _results(layer, outcomes)
    answer: dict[str, t.Any] = {
        "changed": any(entry["changed"] for entry in results),
        "results": results,
        "diff": _diff(layer, plan),
        "invocation": {"module_args": _brief(params)},
    }
    if params.get("aggregate") is None:
        answer[layer.kind] = results[0][layer.kind]
    trouble = _trouble(layer, outcomes)
    if trouble:
        answer["msg"] = trouble
        answer["exception"] = next((outcome.trace for outcome in outcomes if outcome.error and outcome.trace), None)
        module.fail_json(**answer)
    module.exit_json(**answer)


def _read(layer: Layer[t.Any, t.Any], params: Options) -> tuple[list[t.Any], Request]:
    """The elements of a task as canonical values, and what it asks for beside them.

    :raises InvalidOption: an option can't be meant.
    """
    request = Request(check_name(params["project"], "project"), params.get("expect") or {})
    elements = merge_elements(layer, params)
    extra = {option: params[option] for option in layer.beside}
    return [layer.parse({**element, **extra}, request) for element in elements], request


Guard = t.Callable[[], None]
"""Is called with the host's lock before anything is changed, and raises an IsolationError if it must not be."""

Hide = t.Callable[[t.Iterable[str]], t.Any]
"""Is told texts that must not be shown."""


def _drive(
    layer: Layer[t.Any, t.Any], params: Options, check: bool, hide: Hide, guard: Guard | None = None
) -> tuple[TaskPlan, list[Outcome]]:
    """Read, plan, and unless in check mode apply."""
    specs, request = _read(layer, params)
    world = layer.observe(specs, request)
    hide(layer.hidden(specs, world))
    plan = layer.plan(specs, world, request)
    outcomes = [Outcome(element.name, element, result=element.result) for element in plan.elements]
    if not check and any(element.changed for element in plan.elements):
        ensure_libraries(layer.libraries)
        with host_lock(params["lock_timeout"]):
            if guard is not None:
                guard()
            now = layer.observe(specs, request)
            if now != world:  # else the plan, which is pure, would be the same
                plan = layer.plan(specs, now, request)
            outcomes = apply_plan(plan, params["on_error"])
            _confirm(layer, specs, request, outcomes)
    return plan, outcomes


@dataclass(frozen=True)
class Done:
    """What a layer has made of a task, or would make: `results` and `diff` as its module has them, and why elements failed."""

    results: list[dict[str, t.Any]] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trouble: str = ""


def carry_out(
    layer: Layer[t.Any, t.Any],
    aggregate: t.Sequence[Options],
    check: bool,
    hide: Hide,
    guard: Guard | None = None,
    **given: t.Any,
) -> Done:
    """What the module of a layer does, for who drives several layers. `given` are options beside `aggregate`.

    :raises IsolationError: something that was asked for can't be.
    """
    rules = {**_argument_spec(layer), **layer.options}
    defaults = {option: rule.get("default") for option, rule in rules.items()}
    plan, outcomes = _drive(layer, {**defaults, **given, "aggregate": list(aggregate)}, check, hide, guard)
    return Done(_results(layer, outcomes), _diff(layer, plan), _warnings(plan), _trouble(layer, outcomes))


def _run(module: BulkModule, layer: Layer[t.Any, t.Any]) -> None:
    plan, outcomes = _drive(layer, module.all_params, module.check_mode, module.no_log_values.update)
    for warning in _warnings(plan):
        module.warn(warning)
    _report(module, layer, plan, outcomes)


def run_module(layer: Layer[t.Any, t.Any]) -> None:
    """Be the module of a layer: read the options, drive the layer, end the process with the result."""
    # The process ends before there would be anything to collect, and looking for it takes a fifth of the time.
    gc.disable()
    module = BulkModule(
        layer.bulky,
        {**layer.options, **layer.beside},
        argument_spec=_argument_spec(layer),
        mutually_exclusive=[("name", "aggregate")],
        required_one_of=[("name", "aggregate")],
        supports_check_mode=True,
    )
    try:
        _run(module, layer)
    except (IsolationError, OSError) as error:
        message = str(error)
        if not message.startswith(f"{layer.kind} "):
            message = f"{layer.kind}: {message}"
        module.fail_json(msg=message, exception=traceback.format_exc())
