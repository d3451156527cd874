# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of root filesystems: an image is added to the store, and what goes with the last that uses it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .. import _idrange, _paths
from .._host import images
from .._host.files import RemoveFile
from .._host.libexec import path as helper_path
from .._host.process import require_tool
from .._host.records import DropRecord, load_records
from .._host.unpacked import Limits, Unpacked
from .source_spec import Source


@dataclass(frozen=True)
class UnpackImage:
    """Step: add the image of a source to the store, unless it is there."""

    digest: str
    source: Source
    limits: Limits

    def run(self) -> None:
        """Fetch or make it, check it, unpack it, let it appear.

        :raises IsolationError: it can't be had, is not what was promised, or holds what is refused; nothing is left of it.
        """
        images.store(self.digest, self.source.canonical(), self._make)

    def _make(self, root: str, work: str) -> tuple[Unpacked, int]:
        from .making import Maker  # not before an image has to be made: most runs find theirs in the store

        return Maker(self.digest, self.source, self.limits).make(root, work)


@dataclass(frozen=True)
class NeedTool:
    """Step: insist on a tool of the host."""

    tool: str

    def run(self) -> None:
        """Look for it.

        :raises ToolError: it is not installed.
        """
        require_tool(self.tool)


@dataclass(frozen=True)
class Release:
    """Step: give back what a service held, if its last root filesystem and its last instance are gone, and the helper with the host's last."""

    service: str
    helper: str

    def run(self) -> None:
        """Look at the records as they are now: an element that failed still needs its range."""
        rootfs, services = load_records("rootfs"), load_records("service")
        holders = {record.spec.get("service", record.name) for record in (*rootfs.values(), *services.values())}
        held = load_records(_idrange.LAYER).get(self.service)
        if held is not None and self.service not in holders:
            DropRecord(held).run()
        if not rootfs:
            RemoveFile(helper_path(self.helper), os.path.dirname(_paths.LIBEXEC)).run()
