# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers as files of a host: each stands alone, whatever its module imports from others."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from types import ModuleType

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._host import libexec
from ansible_collections.daemonless.isolation.plugins.module_utils._host.helpers import rootfs, volumes


@pytest.mark.parametrize("helper", [rootfs, volumes])
def test_a_helper_stands_alone(helper: ModuleType, tmp_path: pathlib.Path) -> None:
    name = helper.__name__.rpartition(".")[2]
    text = libexec.program(helper)
    assert re.search(r"^from \.", text, re.MULTILINE) is None
    assert text.count("from __future__") == 1
    assert "Why it is there" in text
    path = tmp_path / name
    path.write_text(text)
    for arguments, code, said in (((), 2, f"usage: {name} mount NAME"), (("mount", "nosuch"), 1, "no usable record")):
        done = subprocess.run(
            [sys.executable, "-IS", path, *arguments], capture_output=True, text=True, check=False, cwd="/"
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
