# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a service: the argument spec of one element."""

from __future__ import annotations

import typing as t

from .devices import DEVICE
from .secret_options import SECRETS

NAMESPACES = ("pid", "network", "uts", "ipc", "cgroup", "user", "time")

STATES = ("present", "started", "stopped", "restarted", "reloaded", "absent")

_NETWORK = {
    "bridge": {"type": "str"},
    "address": {"type": "list", "elements": "str", "default": ["auto"]},
    "aliases": {"type": "list", "elements": "str", "default": []},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "default_route": {"type": "bool", "default": True},
    "routes": {
        "type": "list",
        "elements": "dict",
        "options": {"to": {"type": "str"}, "via": {"type": "str"}},
        "default": [],
    },
}
_MOUNT = {
    "type": {"type": "str", "choices": ["bind", "volume"], "default": "bind"},
    "source": {"type": "str"},
    "target": {"type": "str"},
    "read_only": {"type": "bool", "default": False},
    "exec": {"type": "bool", "default": True},
    "propagation": {"type": "str", "default": "private"},
}
_HTTP = {"port": {"type": "int"}, "path": {"type": "str", "default": "/"}}
_HEALTH = {
    "http": {"type": "dict", "options": _HTTP},
    "tcp": {"type": "dict", "options": {"port": {"type": "int"}}},
    "exec": {"type": "dict", "options": {"command": {"type": "list", "elements": "str"}}},
    "interval": {"type": "str"},
    "timeout": {"type": "str", "default": "2s"},
    "retries": {"type": "int", "default": 3},
    "start_period": {"type": "str"},
    "on_failure": {"type": "str", "choices": ["restart", "stop", "none"]},
}

OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "service": {"type": "str"},
    "rootfs": {"type": "str"},
    "command": {"type": "list", "elements": "str"},
    "args": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "dict", "default": {}},
    "env_files": {"type": "list", "elements": "str", "default": []},
    "user": {"type": "str", "default": "0:0"},
    "groups": {"type": "list", "elements": "str", "default": []},
    "umask": {"type": "str"},
    "oom_score_adj": {"type": "int"},
    "allow_secrets_in_environment": {"type": "bool", "default": False},
    "workdir": {"type": "str", "default": "/"},
    "timezone": {"type": "str"},
    "hostname": {"type": "str"},
    "init": {"type": "bool"},
    "namespaces": {"type": "dict", "options": {kind: {"type": "str"} for kind in NAMESPACES}},
    "slice": {"type": "str"},
    "id_base": {"type": "int"},
    "networks": {"type": "list", "elements": "dict", "options": _NETWORK, "default": []},
    "mounts": {"type": "list", "elements": "dict", "options": _MOUNT, "default": []},
    "tmpfs": {
        "type": "list",
        "elements": "dict",
        "options": {
            "target": {"type": "str"},
            "size": {"type": "str", "default": "64M"},
            "mode": {"type": "str", "default": "1777"},
        },
        "default": [],
    },
    "devices": {"type": "list", "elements": "dict", "options": DEVICE, "default": []},
    "secrets": SECRETS,
    "capabilities": {"type": "list", "elements": "str", "default": []},
    "seccomp": {"type": "str", "default": "default"},
    "masked_paths": {"type": "list", "elements": "str", "default": []},
    "readonly_paths": {"type": "list", "elements": "str", "default": []},
    "apparmor_profile": {"type": "str"},
    "selinux_label": {"type": "str"},
    "rlimits": {"type": "dict", "default": {}},
    "sysctls": {"type": "dict", "default": {}},
    "dns": {
        "type": "dict",
        "options": {
            "nameservers": {"type": "list", "elements": "str"},
            "search": {"type": "list", "elements": "str", "default": []},
            "options": {"type": "list", "elements": "str", "default": []},
        },
    },
    "extra_hosts": {"type": "dict", "default": {}},
    "stop_signal": {"type": "str", "default": "SIGTERM"},
    "reload_signal": {"type": "str"},
    "reload_command": {"type": "list", "elements": "str", "default": []},
    "after": {"type": "list", "elements": "str", "default": []},
    "requires": {"type": "list", "elements": "str", "default": []},
    "stop_timeout": {"type": "str", "default": "10s"},
    "standard_output": {"type": "str", "choices": ["direct", "pipe"], "default": "direct"},
    "restart": {
        "type": "dict",
        "options": {
            "policy": {"type": "str", "choices": ["always", "on-failure", "no"], "default": "always"},
            "delay": {"type": "str", "default": "100ms"},
            "max_delay": {"type": "str", "default": "1m"},
        },
    },
    "health": {"type": "dict", "options": _HEALTH},
    "gate": {
        "type": "dict",
        "options": {
            "min_healthy_time": {"type": "str", "default": "500ms"},
            "deadline": {"type": "str", "default": "1m"},
            "auto_revert": {"type": "bool", "default": True},
        },
    },
    "drain": {"type": "dict", "options": {"timeout": {"type": "str", "default": "30s"}}},
    "keep_running": {"type": "str", "default": "0s"},
    "replaces": {"type": "str"},
    "beside": {"type": "str"},
    "held": {"type": "bool"},
    "purge_volumes": {"type": "list", "elements": "str", "default": []},
    "runtime": {"type": "str", "choices": ["crun", "runc"]},
    "runtime_policy": {"type": "str", "choices": ["warn", "strict"], "default": "warn"},
    "state": {"type": "str", "choices": list(STATES), "default": "started"},
}

RULES: dict[str, t.Any] = {}
