# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
"""Run a command and kill it, with all that belongs to it, by SIGKILL: kill.py SECONDS LOG COMMAND… Prints what it was at."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run it, wait, kill it."""
    seconds, log, command = float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        play = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            status = play.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(play.pid, signal.SIGKILL)
            status = play.wait()
    took = time.monotonic() - began
    begun = re.findall(r"^TASK \[(.*)\]", log.read_text(encoding="utf-8"), re.MULTILINE)
    what = "killed" if status == -signal.SIGKILL else f"it had ended by itself with status {status}"
    print(f"after {took:.1f} s: {what}; task {len(begun)}: {begun[-1] if begun else 'none'}")


if __name__ == "__main__":
    main()
