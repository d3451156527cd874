# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's part of rootfs_prepare, by real playbooks: what is sent, when, what is told, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml
from world import COLLECTIONS, World, digest

IMAGES = "/var/lib/isolation/images"
MODULE = "daemonless.isolation.rootfs_prepare"


class Controller:
    """A folder with a playbook and its files; the host is the world, by a local connection whose temporary files are its own."""

    def __init__(self, world: World, folder: pathlib.Path) -> None:
        self.world, self.folder, self.sent = world, folder, folder / "remote"
        (folder / "files").mkdir()

    def play(
        self, *tasks: dict[str, t.Any], check: bool = False, pipelining: bool = True
    ) -> tuple[str, list[dict[str, t.Any]]]:
        """Run tasks; returns what was printed, and the result of each."""
        for number, task in enumerate(tasks):
            task["register"] = f"r{number}"
        results = [{"copy": {"content": f"{{{{ r{number} | to_json }}}}", "dest": f"{self.folder}/r{number}.json"},
                    "check_mode": False, "when": f"r{number} is defined"} for number in range(len(tasks))]  # fmt: skip
        plays = [{"hosts": "all", "gather_facts": False, "tasks": [{"block": list(tasks), "always": results}]}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(plays))
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_PIPELINING": str(pipelining),
            "ANSIBLE_REMOTE_TMP": str(self.sent),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "local"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "box,", "-c", "local", "-e",
                   f"ansible_python_interpreter={sys.executable}", str(self.folder / "play.yml"),
                   *(["--check"] if check else [])]  # fmt: skip
        done = self.world.run(["env", *[f"{key}={value}" for key, value in environment.items()], *command], check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [path for path in self.sent.rglob("*") if path.is_file()] == [], "temporary files stay on the host"
        files = [self.folder / f"r{number}.json" for number in range(len(tasks))]
        return done.stdout + done.stderr, [json.loads(path.read_text()) for path in files if path.exists()]


@pytest.fixture
def controller(world: World, tmp_path: pathlib.Path) -> Controller:
    """A controller with an archive, `files/root.tar.gz`, of the directory `tree`."""
    made = Controller(world, tmp_path)
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/motd").write_text("hello\n")
    (tmp_path / "tree/data").write_bytes(os.urandom(300_000))
    subprocess.run(["tar", "-C", str(tmp_path / "tree"), "-czf", str(tmp_path / "files/root.tar.gz"), "."], check=True)
    return made


def task(**options: t.Any) -> dict[str, t.Any]:
    return {MODULE: {"remote_src": False, **options}}


def tar(path: str = "root.tar.gz", **options: t.Any) -> dict[str, t.Any]:
    return {"tar": {"path": path, **options}}


@pytest.mark.parametrize("pipelining", [True, False])
def test_an_archive_is_sent_once(controller: Controller, pipelining: bool) -> None:
    wanted = digest(f"{controller.folder}/files/root.tar.gz")
    output, (predicted,) = controller.play(task(name="web", source=tar()), check=True, pipelining=pipelining)
    assert predicted["changed"]
    assert predicted["rootfs"]["digest"] == wanted
    assert predicted["results"][0]["predicted"]
    assert "sending" not in output
    assert controller.world.run(["ls", IMAGES], check=False).returncode != 0
    many = [{"name": f"api-{number}", "source": tar("{{ 'root' }}.tar.gz")} for number in range(3)]
    output, (first, again, other) = controller.play(
        task(name="web", source=tar(checksum=wanted)),
        task(name="web", source=tar()),
        {**task(aggregate="{{ many }}"), "vars": {"many": many}},
        pipelining=pipelining,
    )
    assert first["rootfs"]["digest"] == wanted
    assert not first["rootfs"]["cached"]
    assert not again["changed"]
    assert all(entry["rootfs"]["cached"] for entry in other["results"])
    size = os.path.getsize(controller.folder / "files/root.tar.gz")
    assert output.count("sending root.tar.gz: 0.3 MB") == 1
    assert f"box: rootfs web: fetched {size / 1e6:.1f} MB, unpacked 0.3 MB, 4 entries in" in output
    assert f"box: rootfs api-0 and 2 more: image {wanted[:19]}… from the store" in output
    assert controller.world.sh("cat /var/lib/isolation/instances/web/rootfs/etc/motd") == "hello\n"
    assert "controller=root.tar.gz" in first["diff"][0]["after"]


def test_a_directory_and_a_damaged_image(controller: Controller) -> None:
    source = {"directory": {"path": str(controller.folder / "tree")}}
    _output, (first, again) = controller.play(task(name="web", source=source), task(name="web", source=source))
    assert first["changed"]
    assert not again["changed"]
    controller.world.sh(f"echo x > {first['rootfs']['image']}/rootfs/etc/motd")
    output, (mended, settled) = controller.play(*(task(name="web", source=source, verify="full") for _twice in "ab"))
    assert "damaged: /etc/motd" in mended["diff"][0]["before"]
    assert not settled["changed"]
    assert "sending" in output
    assert controller.world.sh("cat /var/lib/isolation/instances/web/rootfs/etc/motd") == "hello\n"


def test_an_image_of_docker_save(controller: Controller) -> None:
    folder = controller.folder
    saved, config = folder / "saved", {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]}
    saved.mkdir()
    subprocess.run(["tar", "-C", str(folder / "tree"), "-cf", str(saved / "layer.tar"), "."], check=True)
    config |= {"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(str(saved / "layer.tar"))]}}  # type: ignore[dict-item]
    (saved / "config.json").write_text(json.dumps(config))
    name = digest(str(saved / "config.json"))
    manifest = [{"Config": "config.json", "RepoTags": ["web:1"], "Layers": ["layer.tar"]}]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    subprocess.run(["tar", "-C", str(saved), "-cf", str(folder / "files/web.tar"), "."], check=True)
    source = {"docker_archive": {"path": "web.tar", "reference": "web:1"}}
    output, (first, again) = controller.play(task(name="web", source=source), task(name="web", source=source))
    assert first["rootfs"]["digest"] == name
    assert not again["changed"]
    assert output.count("sending") == 1
    layout = folder / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    blobs = {}
    for path in (saved / "layer.tar", saved / "config.json"):
        blobs[path.name] = {"digest": digest(str(path)), "size": path.stat().st_size}
        (layout / "blobs/sha256" / digest(str(path))[7:]).write_bytes(path.read_bytes())
    kind = "application/vnd.oci.image."
    document = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", **blobs["config.json"]},
        "layers": [{"mediaType": f"{kind}layer.v1.tar", **blobs["layer.tar"]}],
    })  # fmt: skip
    (folder / "manifest").write_text(document)
    entry = {"mediaType": f"{kind}manifest.v1+json", "digest": digest(f"{folder}/manifest"), "size": len(document)}
    (layout / "blobs/sha256" / entry["digest"][7:]).write_text(document)  # type: ignore[index]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    source = {"oci_layout": {"path": str(layout)}}
    output, (first, again) = controller.play(task(name="oci", source=source), task(name="oci", source=source))
    assert first["rootfs"]["digest"] == entry["digest"]
    assert not again["changed"]
    assert output.count("sending") == 1
    assert controller.world.sh("cat /var/lib/isolation/instances/oci/rootfs/etc/motd") == "hello\n"


def test_refusals(controller: Controller) -> None:
    wrong = "sha256:" + "0" * 64
    before = controller.world.snapshot()
    refused: list[tuple[dict[str, t.Any], str]] = [
        (task(name="web", source=tar(checksum=wrong)), "wrong checksum"),
        (task(name="web", source=tar("nowhere.tar")), "not found on the controller"),
        ({**task(name="web", source=tar()), "async": 30}, "can't be combined with async"),
        (task(name="web", source=tar(), mode="ephemeral", size="1"), "at least 64K"),
        (task(name="web", source={"directory": {"path": "/srv", "revision": "1"}}), "leave revision out"),
    ]
    _output, results = controller.play(*({**one, "ignore_errors": True} for one, _message in refused))
    for result, (_task, message) in zip(results, refused):
        assert result["failed"]
        assert message in result["msg"]
    assert controller.world.snapshot() == before
    alone = controller.world.refused("rootfs_prepare", name="web", source=tar("/root.tar"), remote_src=False)
    assert "action plugin" in alone
