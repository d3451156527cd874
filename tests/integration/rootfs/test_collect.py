# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deployments side by side that collect what they don't need: nothing that another one uses may go."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor

from world import World, difference, digest

INSTANCES = "/var/lib/isolation/instances"
IMAGES = "/var/lib/isolation/images"
AT_ONCE = 8

LOOK = f"""
import json, os
records = [json.load(open(f'/etc/isolation/rootfs/{{name}}')) for name in sorted(os.listdir('/etc/isolation/rootfs'))]
found = {{}}
for record in records:
    root = f'{INSTANCES}/{{record["name"]}}/rootfs'
    found[record['name']] = [os.path.ismount(root), open(root + '/etc/name').read(), record['assigned']['id_base'],
                             'claim' in record['assigned']]
mounted = [line.split()[4] for line in open('/proc/self/mountinfo') if '/var/lib/isolation/' in line]
ranges = {{name: json.load(open(f'/etc/isolation/id_range/{{name}}'))['assigned']['id_base']
          for name in os.listdir('/etc/isolation/id_range')}}
print(json.dumps([found, mounted, ranges, os.listdir('{IMAGES}')]))
"""


def test_eight_at_once(world: World, tmp_path: pathlib.Path) -> None:
    """Each deploys releases of its own service, of images that it shares with others; some remove theirs again."""
    before = world.snapshot()
    archives = []
    for number in range(3):
        root = tmp_path / f"root{number}"
        (root / "etc").mkdir(parents=True)
        (root / "etc/name").write_text(str(number))
        (root / "data").write_bytes(os.urandom(200_000))
        archives.append(str(tmp_path / f"{number}.tar"))
        subprocess.run(["tar", "-C", str(root), "-cf", archives[-1], "."], check=True)

    def source(number: int) -> dict[str, t.Any]:
        return {"tar": {"path": archives[number % 3], "checksum": digest(archives[number % 3])}}

    def deploy(worker: int) -> None:
        for release in range(3):
            name = f"s{worker}-{release}"
            collect: dict[str, t.Any] = {"service": f"s{worker}", "keep": 1, "prune_images": True}
            answer = world.module("rootfs_prepare", name=name, source=source(worker + release), **collect)
            assert not answer.get("failed"), answer["msg"]
            if worker % 4 == 3:
                answer = world.module("rootfs_prepare", name=name, state="absent", prune_images=True)
                assert not answer.get("failed"), answer["msg"]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(deploy, worker) for worker in range(AT_ONCE)]:
            done.result()

    found, mounted, ranges, images = json.loads(world.run(["python3", "-c", LOOK]).stdout)
    staying = [worker for worker in range(AT_ONCE) if worker % 4 != 3]
    wanted = {f"s{worker}-{release}": str((worker + release) % 3) for worker in staying for release in (1, 2)}
    assert {name: content for name, (_there, content, _base, _claim) in found.items()} == wanted
    assert all(there and not claim for there, _content, _base, claim in found.values())
    assert sorted(mounted) == sorted(f"{INSTANCES}/{name}/rootfs" for name in wanted)
    assert sorted(ranges) == sorted(f"s{worker}.json" for worker in staying)
    assert len(set(ranges.values())) == len(staying)
    assert all(base == ranges[name.split("-")[0] + ".json"] for name, (*_rest, base, _claim) in found.items())
    assert sorted(images) == sorted(digest(path).replace(":", "-") for path in archives)
    for worker in staying:
        settled = world.module(
            "rootfs_prepare", check=True, verify="full", keep=1, prune_images=True, service=f"s{worker}",
            aggregate=[{"name": f"s{worker}-{release}", "source": source(worker + release)} for release in (1, 2)],
        )  # fmt: skip
        assert not settled["changed"], settled["diff"]
    world.apply(
        "rootfs_prepare", state="absent", prune_images=True, aggregate=[{"name": name} for name in sorted(wanted)]
    )
    assert difference(before, world.snapshot()) == {}


def test_an_image_in_another_namespace_stays(world: World, tmp_path: pathlib.Path) -> None:
    """A mount that only another mount namespace has still needs its layers."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/name").write_text("here")
    wanted = {"name": "web", "source": {"directory": {"path": str(tmp_path / "root")}}}
    image = world.apply("rootfs_prepare", **wanted)["rootfs"]["image"]
    script = f"mount -t overlay o -o lowerdir={image}/rootfs:/srv /mnt && echo $$ && read end < /dev/zero"
    other = world.popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    assert other.stdout is not None
    pid = other.stdout.readline().strip()
    world.cycle("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert world.sh(f"nsenter -m -t {pid} cat /mnt/etc/name") == "here"
    world.sh(f"kill -9 {pid}")
    other.wait()
    gone = world.cycle("rootfs_prepare", name="web", state="absent", prune_images=True)
    assert "images sha256:" in gone["diff"][0]["before"]
    assert world.run(["ls", IMAGES], check=False).returncode != 0
