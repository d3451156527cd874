# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Helpers on the host: short programs under /usr/local/libexec/isolation, whose source is a module of `helpers`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from types import ModuleType

from .. import _paths
from .._errors import IsolationError

_SIBLING = re.compile(r"^from \.(\w+) import (?:\([^)]*\)|[^\n(]+)\n", re.MULTILINE)

_INTERPRETERS = ("/usr/bin/python3", "/usr/libexec/platform-python")


def source(helper: ModuleType) -> str:
    """The source text of a helper's module, also where modules come from a zip archive.

    :raises IsolationError: whatever has loaded the module can't tell.
    """
    spec = importlib.util.find_spec(helper.__name__)
    read = getattr(spec.loader if spec is not None else None, "get_source", None)
    text = None if read is None else read(helper.__name__)
    if not isinstance(text, str):
        raise IsolationError(
            f"{helper.__name__}: its source can't be read; report this as a bug of daemonless.isolation"
        )
    return text


def bundle(main: ModuleType, *parts: ModuleType) -> str:
    """The source text of a program that is made of several helpers: `main` imports `parts`, of which each may import those before it."""
    texts = {helper.__name__.rpartition(".")[2]: source(helper) for helper in (*parts, main)}
    return f"""import sys, types
sys.modules["helpers"] = types.ModuleType("helpers")
for name, text in {texts!r}.items():
    module = types.ModuleType("helpers." + name)
    module.__package__ = "helpers"
    sys.modules[module.__name__] = module
    exec(compile(text, name, "exec"), module.__dict__)
    setattr(sys.modules["helpers"], name, module)
raise SystemExit(module.main(sys.argv[1:]))
"""


def interpreter() -> str:
    """The Python that runs helpers at boot: the host's own, else the one that runs this module."""
    for path in _INTERPRETERS:
        if os.access(path, os.X_OK):
            return path
    return sys.executable


def program(helper: ModuleType) -> str:
    """A helper as an executable file: isolated from the environment and from installed packages. What it imports from another helper
    is replaced by that one's text, so that the file stands alone and can be read.
    """
    future = "from __future__ import annotations\n"

    def text(match: re.Match[str]) -> str:
        part = importlib.import_module(f"{helper.__package__}.{match[1]}")
        return source(part).replace(future, "", 1)

    return f"#!{interpreter()} -IS\n{_SIBLING.sub(text, source(helper))}"


def path(name: str) -> str:
    """Where a helper lies on the host."""
    return os.path.join(_paths.LIBEXEC, name)
