# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that tell how hosts are, compared with what is declared. Documented in the .yml files beside this one."""

from __future__ import annotations

import typing as t

from ..plugin_utils import _drift, _status, _status_page, _status_text


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """What Ansible asks for."""
        functions = (
            _drift.drift,
            _status.host_status,
            _status.fleet_status,
            _status_text.status_table,
            _status_page.status_page,
        )
        return {function.__name__: function for function in functions}
