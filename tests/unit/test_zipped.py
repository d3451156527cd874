# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports from a zip file, in processes of their own as a module has one."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "plugins" / "module_utils" / "_zipped.py"

FILES = {
    "ours/__init__.py": "",
    "ours/_zipped.py": SOURCE.read_text(),
    "ours/_errors.py": "WORD = 'not a word'",
    "ours/deep/__init__.py": "from .. import _errors\nfrom . import one",
    "ours/deep/one.py": "from .._errors import WORD",
    "ours/broken.py": "raise KeyError('as it is written')",
    "other.py": "",
}

PROGRAM = """
import collections, json, sys
compiled = collections.Counter()
sys.addaudithook(lambda event, given: compiled.update([str(given[1])]) if event == "compile" else None)
sys.path.insert(0, sys.argv[1])
from ours import _zipped
for _time in range(int(sys.argv[2])):
    _zipped.compile_once()
compiled.clear()
import ours.deep.one, other, zoneinfo
try:
    import ours.missing
except ModuleNotFoundError as error:
    missing = str(error)
try:
    import ours.broken
except KeyError as error:
    import traceback
    trace = traceback.format_exc()
modules = {name: sys.modules[name] for name in ("ours.deep", "ours.deep.one", "ours._errors", "other")}
print(json.dumps({
    "compiled": {name[len(sys.argv[1]) + 1:]: times for name, times in compiled.items() if name.startswith(sys.argv[1])},
    "word": ours.deep.one.WORD,
    "files": [module.__file__[len(sys.argv[1]) + 1:] for module in modules.values()],
    "packages": [module.__package__ for module in modules.values()],
    "missing": missing,
    "trace": trace,
}))
"""


def run(path: pathlib.Path, times: int) -> dict[str, t.Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(times)], capture_output=True, text=True, check=True
    )
    found: dict[str, t.Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "payload.zip"
    with zipfile.ZipFile(path, "w") as stream:
        for name, text in FILES.items():
            stream.writestr(name, text)
    return path


def test_each_source_of_the_package_is_compiled_once(archive: pathlib.Path) -> None:
    plain, found = run(archive, 0), run(archive, 1)
    ours = {
        name for name in FILES if name.startswith("ours/") and not name.endswith(("ours/__init__.py", "_zipped.py"))
    }
    assert {name: found["compiled"].get(name) for name in ours} == dict.fromkeys(ours, 1)
    # The rest is Python's affair. As long as it is 2, this is worth its lines.
    assert set(plain["compiled"].values()) == {2}
    assert found["compiled"]["other.py"] == 2
    for key in ("word", "files", "packages", "missing"):
        assert found[key] == plain[key]
    # Before 3.10, frames of zipimport are in the other one too.
    assert found["trace"].splitlines()[-3:] == plain["trace"].splitlines()[-3:]
    assert found["word"] == "not a word"
    assert "as it is written" in found["trace"].splitlines()[-2]


def test_without_a_zip_file_nothing_is_changed(tmp_path: pathlib.Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    assert run(tmp_path, 1)["word"] == "not a word"
