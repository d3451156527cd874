# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports from the zip file that Ansible sends a module in, without the half of their time that goes to waste.

Of a source in a zip file, Python's import system asks zipimporter for the file's name and then for the code, and it compiles the source for each of the
two (zipimport, get_filename and get_code). For a module of a hundred files that is a quarter of a second.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import types
import typing as t
import zipimport


class _Source(importlib.abc.SourceLoader):
    """A source in a zip file, whose name is known."""

    def __init__(self, archive: zipimport.zipimporter, path: str) -> None:
        self._archive, self._path = archive, path

    def get_filename(self, fullname: str) -> str:
        """Where it is, as zipimporter tells."""
        return self._path

    def get_data(self, path: str | bytes) -> bytes:
        """The source.

        :raises OSError: it is not in the zip file.
        """
        return self._archive.get_data(os.fsdecode(path))

    def path_stats(self, path: str | bytes) -> t.Mapping[str, t.Any]:
        """Nothing: there is no compiled code that could be as old.

        :raises OSError: always, which means that.
        """
        raise OSError(f"{os.fsdecode(path)}: in a zip file")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of a package in zip files."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."

    def find_spec(
        self, fullname: str, path: t.Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Where a module is; None if it is not ours, or in no zip file."""
        if not fullname.startswith(self._prefix):
            return None
        name = fullname.rpartition(".")[2]
        for place in path or ():
            archive = pkgutil.get_importer(place)
            if isinstance(archive, zipimport.zipimporter):
                try:
                    is_package = archive.is_package(fullname)
                except zipimport.ZipImportError:
                    continue
                below = os.path.join(place, name)
                source = os.path.join(below, "__init__.py") if is_package else f"{below}.py"
                return importlib.util.spec_from_file_location(
                    fullname,
                    source,
                    loader=_Source(archive, source),
                    submodule_search_locations=[below] if is_package else None,
                )
        return None


def compile_once() -> None:
    """From now on, compile each of our sources once that is in a zip file. Where there is none, this changes nothing.

    A module calls it before it imports anything else of ours.
    """
    loader: t.Any = sys.modules[__name__].__loader__
    if isinstance(loader, zipimport.zipimporter):
        sys.meta_path.insert(0, _Finder(__name__.rpartition(".")[0]))
