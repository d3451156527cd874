# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the figures depend on."""

from __future__ import annotations

import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess

PYTHON = "/usr/bin/python3"
"""The host's own, as Ansible uses it there."""

VERSIONS = {
    "nftables": ["nft", "--version"],
    "iptables": ["iptables", "--version"],
    "Docker": ["/usr/bin/docker", "--version"],
    "Podman": ["podman", "--version"],
    "crun": ["crun", "--version"],
    "runc": ["runc", "--version"],
    "systemd-nspawn": ["systemd-nspawn", "--version"],
    "netavark": ["/usr/lib/podman/netavark", "--version"],
}


def machine(*tools: str) -> dict[str, str]:
    """The machine, and the versions of some tools of `VERSIONS`."""
    facts = {}
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts["processor"] = f"{os.cpu_count()} x {model[1] if model else platform.machine()}"
    facts["memory"] = f"{memory:.0f} GiB"
    facts["load before"] = f"{os.getloadavg()[0]:.2f}"
    facts["system"] = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, kernel {platform.release()}"
    facts["Python"] = subprocess.run([PYTHON, "-c", "import platform; print(platform.python_version())"],
                                     capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    for name in tools:
        if shutil.which(VERSIONS[name][0]):
            said = subprocess.run(VERSIONS[name], capture_output=True, text=True, check=False).stdout
            found = re.search(r"\d+\.[^\s)]+(?: \(\w+\))?", said)
            facts[name] = found[0].rstrip(",") if found else "?"
    return facts


def cpu() -> float:
    """Processor time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
