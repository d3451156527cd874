# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one family of errors that modules report."""

from __future__ import annotations


class IsolationError(Exception):
    """Something an operator can act on.

    The message names the object, the operation, what the kernel or the tool answered, and what to set to mend it.
    """


class InvalidOption(IsolationError):
    """An option's value can't be used; nothing has been changed."""
