# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that may hold thousands of entries, such as published ports.

AnsibleModule copies, validates, logs and searches each value of its options several times, which takes it longer than
everything that is done with them. So such lists are kept away from it, and validated here, by the same argument spec.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult
from ansible.module_utils.errors import UnsupportedError

from ._errors import InvalidOption
from ._hidden import LEAST

Rule = t.Mapping[str, t.Any]

NOT_SHOWN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
"""What Ansible writes in place of a secret."""

_BETWEEN = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
"""Keys of a rule that are about options of an entry together (Ansible's argument spec, dependency options)."""


def refusal(checked: ValidationResult) -> str:
    """What is wrong with options; empty if nothing is."""
    return "; ".join(
        f"unsupported options: {error}" if isinstance(error, UnsupportedError) else str(error)
        for error in checked.errors
    )


def without_none(value: t.Any) -> t.Any:
    """A value without the options that were not given, at any depth: to validate them again would refuse them."""
    if isinstance(value, t.Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value


def _texts(value: t.Any) -> t.Iterator[str]:
    """Every text and number in a value, as text."""
    if isinstance(value, t.Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value not in (None, "") and not isinstance(value, bool):
        yield str(value)


def has_secrets(rules: Rule) -> bool:
    """Whether there is a `no_log` option, at any depth."""
    return any(rule.get("no_log") or has_secrets(rule.get("options") or {}) for rule in rules.values())


def hidden_values(rules: Rule, given: t.Any, wary: bool = False) -> t.Iterator[str]:
    """What of given options must not be shown: values of `no_log` options, at any depth.

    Beside such an option an unknown one counts as a misspelt one, and its value is hidden too. `wary`, which is for modules that have
    such an option anywhere, hides long values of unknown options everywhere: a secret may have been given in the wrong place.
    """
    if isinstance(given, list):
        for item in given:
            yield from hidden_values(rules, item, wary)
    if not isinstance(given, t.Mapping):
        return
    secretive = any(rule.get("no_log") for rule in rules.values())
    for key, value in given.items():
        rule = rules.get(key)
        if (rule is None and secretive) or (rule is not None and rule.get("no_log")):
            yield from _texts(value)
        elif rule is None and wary:
            yield from (text for text in _texts(value) if len(text) >= LEAST)
        elif rule is not None and "options" in rule:
            yield from hidden_values(rule["options"], value, wary)


class BulkModule(AnsibleModule):
    """A module that sets lists aside: those of the options in `bulky`, and `aggregate`, which may hold them.

    What is set aside must have no secrets in it: AnsibleModule does not learn of them. Of an `aggregate` that is not set aside,
    whose elements AnsibleModule knows nothing of, it learns what to hide by `element`, the argument spec of one.
    """

    def __init__(self, bulky: t.Sequence[str], element: Rule, **settings: t.Any) -> None:
        self._bulky = (*bulky, "aggregate") if bulky else ()
        self._element = element
        self.aside: dict[str, t.Any] = {}
        super().__init__(**settings)

    def _load_params(self) -> None:
        """Read the input, as AnsibleModule does; an empty list stands for each that is set aside."""
        super()._load_params()
        if not self._bulky:
            given = {key: value for key, value in self.params.items() if not key.startswith("_ansible_")}
            wary = has_secrets(self._element) or has_secrets(self.argument_spec)
            self.no_log_values.update(hidden_values(self._element, given.get("aggregate"), wary))
            self.no_log_values.update(hidden_values(self.argument_spec, given, wary))
        for option in self._bulky:
            if isinstance(self.params.get(option), list):
                self.aside[option] = self.params[option]
                self.params[option] = []

    @property
    def all_params(self) -> dict[str, t.Any]:
        """The options as they were given, defaults among them."""
        return {**self.params, **self.aside}

    def shown_params(self) -> dict[str, t.Any]:
        """The options for a report: of secrets, not even the keys."""
        hidden = {key for key, rule in self.argument_spec.items() if rule.get("no_log")}
        shown = {key: value for key, value in self.all_params.items() if key not in hidden or value is None}
        return {**shown, **{key: NOT_SHOWN for key in hidden if self.all_params.get(key) is not None}}


class _Entries:
    """Entries of one option: those that are written alike, with plain texts and numbers only, are validated once."""

    def __init__(self, rule: Rule) -> None:
        options: Rule = rule["options"]
        self._validator = ArgumentSpecValidator(dict(options), **{key: rule[key] for key in _BETWEEN if key in rule})
        self._defaults = {key: option.get("default") for key, option in options.items()}
        self._texts = {key for key, option in options.items() if option.get("type", "str") == "str"}
        self._chosen = [key for key, option in options.items() if "choices" in option]
        self._alike: dict[t.Any, tuple[str, ...]] = {}
        """Of each way to write an entry the options whose numbers become texts."""

    def _numbers(self, entry: Rule) -> tuple[str, ...] | None:
        """Which options have a number that becomes a text, in a valid entry; None if it is not plain."""
        found = []
        for key, value in entry.items():
            if key not in self._texts or isinstance(value, bool) or not isinstance(value, (str, int)):
                return None
            if isinstance(value, int):
                found.append(key)
        return tuple(found)

    def validate(self, entry: t.Any) -> dict[str, t.Any]:
        """An entry with all its options.

        :raises InvalidOption: it has an unknown option, lacks one, or has a value of the wrong type.
        """
        if not isinstance(entry, dict):
            raise InvalidOption(f"{entry!r} is not a dictionary of options")
        shape = (*entry, *map(type, entry.values()), *map(entry.get, self._chosen))
        try:
            numbers = self._alike.get(shape)
        except TypeError:  # a list where a text belongs
            numbers = None
        if numbers is None:
            given = without_none(entry)
            checked = self._validator.validate(given)
            wrong = refusal(checked)
            if wrong:
                raise InvalidOption(wrong)
            numbers = self._numbers(given)
            if numbers is None or len(given) != len(entry):
                return dict(checked.validated_parameters)
            self._alike[shape] = numbers
        found = {**self._defaults, **entry}
        for key in numbers:
            found[key] = str(found[key])
        return found


def validate_entries(entries: t.Sequence[t.Any], rule: Rule, what: str) -> list[dict[str, t.Any]]:
    """The entries of an option by its `rule`, with their defaults; those that were not given are None.

    :raises InvalidOption: one of them is not valid; `what` names the option.
    """
    known = _Entries(rule)
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(known.validate(entry))
        except InvalidOption as error:
            raise InvalidOption(f"{what}: entry {number}: {error}") from None
    return found
