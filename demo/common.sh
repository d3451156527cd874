# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
#
# What up, tour and down have in common.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DEMO_PORT=${DEMO_PORT:-8080}
export ANSIBLE_COLLECTIONS_PATH=$top/.build/collections
export ANSIBLE_LOCALHOST_WARNING=false
export ANSIBLE_STDOUT_CALLBACK=ansible.builtin.default
export ANSIBLE_DISPLAY_SKIPPED_HOSTS=false
export ANSIBLE_PIPELINING=true

require_root() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "demo: it makes namespaces, links and cgroups on this machine: run it as root" >&2
    exit 1
  fi
}

playbook() {
  "$top/.venv/bin/ansible-playbook" -i "$top/inventories/demo" "daemonless.isolation.$1" "${@:2}"
}
