# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Namespaces of services that are joined by others: where their files are found at a start, and who ends with whom."""

from __future__ import annotations

import contextlib
import glob
import os

from .. import _paths
from .files import remove_empty_directories, remove_file
from .libexec import path as helper_path
from .process import SEARCH_PATH

HELPER = "join"
PIDS = _paths.RUN + "/service"
FOLDER = _paths.RUN + "/join"
"""By instance: links to the namespaces that it joins, made before each start."""
JOINED = _paths.RUN + "/joined"
"""By instance that is joined: a file for each one that has joined it, with the user namespace that they share."""

WAIT = 60
"""Seconds for which a start waits for the instance that it joins."""

TEXT = f"""#!/bin/sh
# {_paths.MARKER}: services that join the namespaces of another one.
#   join begin NAME   before a start: wait for the other one, and link its namespaces where NAME's bundle expects them
#   join end NAME     after NAME's end: end who has joined it, since its namespaces are dead; their supervisor starts them again
# Why: a namespace has no name of its own, and that of a process changes with each start; BindsTo= would leave them stopped.
set -eu
PATH={SEARCH_PATH}
name=$2
first() {{ # the first process of a service that runs in a user namespace of its own; else nothing
  pid=
  [ ! -e "{PIDS}/$1.pid" ] || read -r pid <"{PIDS}/$1.pid" || :
  user=$(readlink "/proc/$pid/ns/user" 2>/dev/null) || user=
  [ -n "$pid" ] && [ -n "$user" ] && [ "$user" != "$(readlink /proc/self/ns/user)" ]
}}
case $1 in
begin)
  read -r target kinds <"{_paths.INSTANCES}/$name/joins"
  waited=0
  until first "$target"; do
    [ "$waited" -lt {WAIT * 5} ] || {{
      echo "$name: service $target, whose namespaces it joins, has not run for {WAIT} s" >&2
      exit 1
    }}
    waited=$((waited + 1))
    sleep 0.2
  done
  mkdir -p "{FOLDER}/$name" "{JOINED}/$target"
  for kind in $kinds; do
    ln -sfn "/proc/$pid/ns/$kind" "{FOLDER}/$name/$kind"
  done
  echo "$user" >"{JOINED}/$target/$name"
  ;;
end)
  for file in "{JOINED}/$name"/*; do
    [ -e "$file" ] || continue
    read -r shared <"$file"
    if first "${{file##*/}}" && [ "$user" = "$shared" ]; then
      kill -KILL "$pid" 2>/dev/null || :
    fi
    rm -f "$file"
  done
  rmdir "{JOINED}/$name" 2>/dev/null || :
  ;;
esac
"""

END = f'[ ! -d "{JOINED}/$2" ] || {helper_path(HELPER)} end "$2"'
"""Shell: what is done after the end of any service, whose name is $2."""


def link(instance: str, kind: str) -> str:
    """Where an instance finds a namespace that it joins; `kind` as in /proc/PID/ns."""
    return os.path.join(FOLDER, instance, kind)


def forget(instance: str) -> None:
    """Remove what tells of an instance that is gone."""
    for path in (*glob.glob(f"{FOLDER}/{instance}/*"), *glob.glob(f"{JOINED}/*/{instance}")):
        remove_file(path)
        with contextlib.suppress(FileNotFoundError):
            remove_empty_directories(os.path.dirname(path), _paths.RUN)
    for top in (FOLDER, JOINED):
        with contextlib.suppress(FileNotFoundError, OSError):
            os.rmdir(top)
