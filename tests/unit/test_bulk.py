# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of thousands of entries are validated as Ansible validates short ones."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._bulk import validate_entries, without_none
from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption

RULE: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "options": {
        "port": {"type": "str", "required": True},
        "address": {"type": "str"},
        "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
        "targets": {"type": "list", "elements": "dict", "options": {"weight": {"type": "int", "default": 1}}},
        "from": {"type": "list", "elements": "str"},
    },
    "required_one_of": [["address", "targets"]],
    "mutually_exclusive": [["address", "targets"]],
}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(allow_nan=False),
    st.sampled_from(["tcp", "udp", "80", "", "10.0.0.1"]),
    st.lists(st.sampled_from(["10.0.0.0/8", 7]), max_size=2),
    st.lists(st.dictionaries(st.just("weight"), st.sampled_from([1, "2", "x"])), max_size=2),
)
ENTRIES = st.dictionaries(st.sampled_from([*RULE["options"], "prot"]), VALUES, max_size=4)
ALIKE = st.fixed_dictionaries(
    {"port": st.integers(1, 9), "address": st.sampled_from(["a", "b"])},
    optional={"protocol": st.sampled_from(["tcp", "udp", "icmp"])},
)


def by_ansible(entry: t.Any) -> dict[str, t.Any] | None:
    """What Ansible's own validator makes of an entry; None if it refuses it."""
    validator = ArgumentSpecValidator(
        RULE["options"], required_one_of=RULE["required_one_of"], mutually_exclusive=RULE["mutually_exclusive"]
    )
    checked = validator.validate(without_none(entry))
    return None if checked.error_messages else dict(checked.validated_parameters)


@given(st.lists(st.one_of(ALIKE, ENTRIES), max_size=12))
def test_as_ansible_does(entries: list[dict[str, t.Any]]) -> None:
    wanted = [by_ansible(entry) for entry in entries]
    if None in wanted:
        number = wanted.index(None) + 1
        with pytest.raises(InvalidOption, match=f"web: ports: entry {number}: "):
            validate_entries(entries, RULE, "web: ports")
    else:
        assert validate_entries(entries, RULE, "web: ports") == wanted


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("80", "not a dictionary"),
        ({"port": 80, "adress": "a"}, "adress"),
        ({"address": "a"}, "port"),
        ({"port": 80}, "address, targets"),
        ({"port": 80, "address": "a", "protocol": "icmp"}, "icmp"),
    ],
)
def test_refusals_after_good_ones(entry: t.Any, word: str) -> None:
    """An entry that is written otherwise than those before it is not taken for one of them."""
    good = {"port": 80, "address": "a"}
    with pytest.raises(InvalidOption, match=word):
        validate_entries([good, good, entry], RULE, "web: ports")
