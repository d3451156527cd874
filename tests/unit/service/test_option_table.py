# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of options in docs/services.md, compared with the module: all of them, and what a change of each does."""

from __future__ import annotations

import pathlib
import re

import yaml

from ansible_collections.daemonless.isolation.plugins.module_utils._service.options import OPTIONS
from ansible_collections.daemonless.isolation.plugins.module_utils._service.spec import LIVE, ServiceSpec
from ansible_collections.daemonless.isolation.plugins.modules import namespaced_service

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "services.md"
DEEDS = {"state", "expect"}
"""Options that say what is done, or what will be there: no change of a service."""


def table() -> dict[str, str]:
    """What a change does, by option."""
    _before, _line, after = DOCUMENT.read_text(encoding="utf-8").partition(
        "| option | Docker calls it | a change is |\n"
    )
    found: dict[str, str] = {}
    for line in after.partition("\n\n")[0].splitlines()[1:]:
        options, _docker, effect = (cell.strip() for cell in line.strip("|").split("|"))
        for option in re.findall(r"`(\w+)`", options):
            assert option not in found, f"{option} has two rows"
            found[option] = effect
    return found


def test_every_option_has_a_row_and_no_other() -> None:
    documented = set(yaml.safe_load(namespaced_service.DOCUMENTATION)["options"])
    assert documented - {"expect", "secret_values"} == set(OPTIONS)
    assert set(table()) == documented - DEEDS


def test_the_effect_of_each() -> None:
    written = table()
    kept = set(ServiceSpec("web", "web").record()) - {"service", "secrets"}
    for option in kept & set(written):
        effect = "live" if option in LIVE else "restart"
        assert written[option].partition(",")[0].partition(" (")[0] == effect, option
    assert kept <= set(written), "all that the record keeps of options"
