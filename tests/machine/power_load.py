# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the machine of tests/machine/power: make and remove slices, images and root filesystems without end (load), or look at all of it (check)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import typing as t

LIB = "/root/lib"
ROOTS = ("/etc/isolation", "/etc/systemd/system", "/var/lib/isolation")
TEMPORARY = ".isolation-"


def module(module_name: str, /, check: bool = False, **args: t.Any) -> dict[str, t.Any]:
    """Run a module of the collection; it must not fail."""
    arguments = {**args, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.daemonless.isolation.plugins.modules.{module_name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": LIB, "LC_ALL": "C.UTF-8"},
    )
    try:
        result: dict[str, t.Any] = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{module_name} gave no result: {done.stdout}{done.stderr}")
    if result.get("failed"):
        sys.exit(f"{module_name} {args}: {result['msg']}")
    return result


def archive(number: int) -> str:
    """An archive with content of its own: sixty files, some of them as large as what a disk holds back for a while."""
    path = f"/run/power-{number}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for index in range(60):
            content = hashlib.sha256(f"{number} {index}".encode()).digest() * (1 + index * 40)
            entry = tarfile.TarInfo(f"usr/share/{index % 7}/{index}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def wanted(number: int) -> list[tuple[str, dict[str, t.Any]]]:
    """What is asked for in one round: modules with their options."""
    slices = [
        {"name": "web", "cpu_weight": 100 + number % 100},
        {"name": "web/a", "memory_max": f"{64 + number % 64}M", "pids_max": str(10 + number % 1000)},
    ]
    tar = {"path": archive(number)}
    files = [{"path": "/etc/number", "content": f"{number}\n" * 500}]
    return [
        ("cgroup_slice", {"aggregate": slices}),
        (
            "cgroup_slice",
            {"name": "web/b", "cpu_max": f"{10 + number % 50}%", "io_max": [{"device": "/dev/vda", "wbps": "50M"}]},
        ),
        ("rootfs_prepare", {"name": f"web-{number % 3}", "service": "web", "source": {"tar": tar}, "files": files}),
    ]


def load(seed: int) -> None:
    """Without end: ask for something else each time, and remove what another round has made."""
    generator = random.Random(seed)
    while True:
        number = generator.randrange(1_000_000)
        steps = wanted(number)
        steps.append(("cgroup_slice", {"name": "web/b", "state": "absent"}))
        steps.append(("rootfs_prepare", {"name": f"web-{(number + 1) % 3}", "state": "absent", "prune_images": True}))
        generator.shuffle(steps)
        for name, args in steps:
            module(name, **args)
            print("done", name, flush=True)
        os.unlink(f"/run/power-{number}.tar.gz")


def ours(path: str) -> bool:
    """Whether a file was written by a module itself; what is in a root filesystem is compared by the image's manifest."""
    if path.startswith("/etc/systemd/"):
        return os.path.basename(path).startswith(("isolation", TEMPORARY)) and not os.path.islink(path)
    parts = path.split("/")
    return not ("rootfs" in parts or "layers" in parts or any(part.startswith(".staged-") for part in parts))


def flaws(strict: bool) -> list[str]:
    """Files that are empty or that end too early. What a cut run had not yet given its name counts when `strict`."""
    found = []
    for root in ROOTS:
        for directory, _folders, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)
                if not ours(path) or not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                if name.startswith(TEMPORARY):
                    found += [f"{path}: left behind"] if strict else []
                    continue
                with open(path, encoding="utf-8") as stream:
                    text = stream.read()
                if not text:
                    found.append(f"{path}: empty")
                elif not text.endswith("\n"):
                    found.append(f"{path}: ends with {text[-40:]!r}")
                elif name.endswith(".json"):
                    try:
                        json.loads(text)
                    except ValueError as error:
                        found.append(f"{path}: {error}")
    return found


def images() -> list[str]:
    """Images that are not whole, by their descriptions and manifests; how many there are is printed."""
    sys.path.insert(0, LIB)
    from ansible_collections.daemonless.isolation.plugins.module_utils import _paths
    from ansible_collections.daemonless.isolation.plugins.module_utils._host import images as store

    there = (
        [name for name in os.listdir(_paths.IMAGES) if not name.startswith(".")] if os.path.isdir(_paths.IMAGES) else []
    )
    found = []
    for name in there:
        image = store.load(name.replace("-", ":", 1))
        damage = store.damage(image) if image is not None else "no image.json"
        if damage is not None:
            found.append(f"{name}: {damage}")
    print(f"{len(there)} images")
    return found


def check() -> None:
    """Nothing is half, the next run makes all of it right, and then there is nothing more to do."""
    left = [
        path
        for root in ROOTS
        for path, folders, files in os.walk(root)
        for _name in files
        if _name.startswith(TEMPORARY)
    ]
    print(f"{len(left)} temporary files were left: {left}")
    wrong = [*flaws(strict=False), *images()]
    number = 7
    steps = wanted(number)
    for name, args in steps:
        module(name, **args)
    for name, args in steps:
        result = module(name, check=True, **args)
        if result["changed"]:
            wrong.append(f"{name} wants to change again: {result['diff']}")
    for state in ("web-0", "web-1", "web-2"):
        module("rootfs_prepare", name=state, state="absent", prune_images=True)
    module("cgroup_slice", aggregate=[{"name": "web"}, {"name": "web/a"}, {"name": "web/b"}], state="absent")
    wrong += flaws(strict=True)
    remains = [path for root in ROOTS if root != "/etc/systemd/system" for path, _folders, _files in os.walk(root)]
    print(f"removed; directories that remain: {remains}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(int(sys.argv[2]))
    else:
        check()
