# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/isolation.md says what the probes are tested for, no less and no more."""

from __future__ import annotations

import pathlib

from ansible_collections.daemonless.isolation.plugins.module_utils._service.paths import MASKED, READ_ONLY
from ansible_collections.daemonless.isolation.tests.integration.service import expectations

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "isolation.md"
HEADS = ("| attempt | answer |", "| --- | --- |")


def test_the_document_has_the_lines_of_the_table() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    written = [line for line in lines if line.startswith("| ") and line not in HEADS]
    assert written == [row for threat in expectations.EXPECTED for row in expectations.rows(threat)]


def test_what_is_masked_is_tried() -> None:
    tried = expectations.EXPECTED["T3"]
    assert {f"read {path}" for path in MASKED} <= set(tried)
    assert {path for path in READ_ONLY if not any(path in attempt for attempt in tried)} == set()


def test_an_answer_must_be_given_and_right() -> None:
    right = {
        threat: {attempt: answers[0] for attempt, answers in expected.items()}
        for threat, expected in expectations.EXPECTED.items()
    }
    assert expectations.differences(right) == []
    right["T1"]["the host's runtime after it"] = "changed"
    del right["T4"]["remove /dev"]
    right["T99"] = {"fly": "done"}
    assert expectations.differences(right) == [
        "T1 the host's runtime after it: changed, not as before",
        "T4 remove /dev: not tried, not EBUSY",
        "T99 fly: done, not nothing",
    ]
