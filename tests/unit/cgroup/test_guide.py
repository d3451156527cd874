# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's table says what the code does: the file or property of each option, or that it is refused."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup import unit, v1, v2
from ansible_collections.daemonless.isolation.plugins.module_utils._cgroup.limits import LIMITS

GUIDE = (pathlib.Path(__file__).resolve().parents[3] / "docs" / "resources.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", LIMITS)
def test_each_option_is_explained(option: str) -> None:
    [row] = [
        line
        for line in GUIDE.splitlines()
        if line.startswith(f"| `{option}` |") and line.split("|")[2].startswith(" `")
    ]
    second, systemd, first = [cell.strip() for cell in row.split("|")[2:5]]
    if option == "hugetlb_max":
        assert [second, systemd, first] == [f"`{v2.page_file('<size>')}`", "refused", f"`{v1.page_file('<size>')}`"]
        return
    assert second == f"`{v2.FILES[option][0]}`"
    names = v1.FILES.get(option)
    assert ("refused" in first) == (names is None)
    assert names is None or any(name in first for name in names)
    assert option not in unit.PROPERTIES or f"`{unit.PROPERTIES[option]}`" in systemd
    assert (f"({unit.SINCE[option]})" in systemd) if option in unit.SINCE else "(" not in systemd
