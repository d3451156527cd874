# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module of this collection has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes that the runner gives to every state-changing module."""

    DOCUMENTATION = r"""
options:
  aggregate:
    description:
      - Many resources in one task. Each element is a dictionary of this module's options, O(name) included.
      - An option that an element does not give takes the value that stands beside O(aggregate), else the option's default.
      - All elements are validated before any of them is changed.
    type: list
    elements: dict
  project:
    description:
      - The project that owns the resource. What belongs to another project is refused, never changed.
    type: str
    default: default
  on_error:
    description:
      - What happens to the other elements of O(aggregate) when the host refuses one of them. The task fails in both cases, with the full RV(ignore:results).
    type: str
    choices: [continue, stop]
    default: continue
  lock_timeout:
    description:
      - How long to wait, in seconds, for another run that is changing this host.
    type: int
    default: 300
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status prediction without modifying the host.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in C(check_mode), as a line for each option or mapping.
    support: full
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
"""
