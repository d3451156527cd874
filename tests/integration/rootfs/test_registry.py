# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of a registry: when it is asked, by tag and by digest, and where credentials are to be seen."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import typing as t

import pytest
from archives import Layout, archive, entry, folder, link
from registries import PASSWORD, USER, Registry
from world import COLLECTIONS, World

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._host import skopeo

IMAGES = "/var/lib/isolation/images"


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    """Two versions of an application: `one` and `two`."""
    made = Layout(tmp_path / "layout")
    base = archive(folder("etc"), entry("etc/version", b"0"), folder("usr"), folder("usr/bin"), link("bin", "usr/bin"))
    made.image(base, archive(entry("etc/version", b"1"), entry("bin/app")), name="one")
    made.image(base, archive(entry("etc/version", b"2"), entry("bin/app")), name="two")
    return made


@pytest.fixture
def registry(world: World, tmp_path: pathlib.Path) -> Registry:
    return Registry(world, tmp_path)


def digests(layout: Layout) -> list[str]:
    return [str(entry["digest"]) for entry in layout.entries]


def version(world: World, name: str) -> str:
    return world.sh(f"cat /var/lib/isolation/instances/{name}/rootfs/etc/version")


def test_by_tag(world: World, registry: Registry, layout: Layout) -> None:
    """A tag is asked for once, unless every run is to ask."""
    registry.push(layout.path, "app:1", "one")
    result = world.cycle("rootfs_prepare", name="web", source=registry.source("app:1"))["rootfs"]
    assert result["digest"] == digests(layout)[0]
    assert version(world, "web") == "1"
    assert result["fetched"] > 0
    image = json.loads(world.sh(f"cat {result['image']}/image.json"))
    assert image["source"] == {"registry": {"image": f"{registry.server}/app:1"}}

    registry.push(layout.path, "app:1", "two")
    before = registry.asked()
    for name in ("web", "api"):  # the store has an image of that tag
        assert (
            world.apply("rootfs_prepare", name=name, source=registry.source("app:1"))["rootfs"]["digest"]
            == digests(layout)[0]
        )
    assert registry.asked() == before

    moved = world.cycle("rootfs_prepare", name="web", source=registry.source("app:1"), pull="always")
    assert moved["rootfs"]["digest"] == digests(layout)[1]
    assert digests(layout)[1] in moved["diff"][0]["after"]
    assert version(world, "web") == "2"
    assert len(registry.asked()) > len(before)
    assert (
        world.apply("rootfs_prepare", name="new", source=registry.source("app:1"))["rootfs"]["digest"]
        == digests(layout)[1]
    )
    assert not world.apply("rootfs_prepare", name="api", source=registry.source("app:1"))["changed"]

    source = registry.source("app:1", revision="2")
    assert world.cycle("rootfs_prepare", name="api", source=source)["rootfs"]["digest"] == digests(layout)[1]
    registry.stop()
    assert not world.apply("rootfs_prepare", name="api", source=source)["changed"]
    assert not world.apply("rootfs_prepare", name="new", source=registry.source("app:1"))["changed"]


def test_by_digest(world: World, registry: Registry, layout: Layout, tmp_path: pathlib.Path) -> None:
    """One that is there is never asked for, whatever source it came from."""
    one, two = digests(layout)
    registry.push(layout.path, "app:1", "one")
    registry.push(layout.path, "app:2", "two")
    pinned = world.apply("rootfs_prepare", name="web", source=registry.source(f"app:2@{one}"))["rootfs"]
    assert (pinned["digest"], version(world, "web")) == (one, "1")
    assert not world.apply("rootfs_prepare", name="web", source=registry.source(f"app:2@{one}"), pull="always")[
        "changed"
    ]
    local = {"oci_layout": {"path": str(layout.path), "reference": "two"}}
    assert world.apply("rootfs_prepare", name="api", source=local)["rootfs"]["digest"] == two
    registry.stop()
    again = world.apply("rootfs_prepare", name="new", source=registry.source(f"app@{two}"))["rootfs"]
    assert (again["digest"], again["cached"], version(world, "new")) == (two, True, "2")


def test_an_index(world: World, registry: Registry, layout: Layout, tmp_path: pathlib.Path) -> None:
    """A tag or a digest of an index means the image for this host."""
    many = Layout(tmp_path / "many")
    ours = many.manifest(archive(folder("etc"), entry("etc/version", b"ours")))
    index = many.add(
        many.index(("arm64", many.manifest(archive(entry("a")), architecture="arm64")), ("amd64", ours)), "all"
    )
    registry.push(many.path, "app:all", "all", ["--all"])
    for name, image in (("web", "app:all"), ("api", f"app@{index}")):
        result = world.apply("rootfs_prepare", name=name, source=registry.source(image))["rootfs"]
        assert result["digest"] == ours["digest"]
        assert version(world, name) == "ours"
    registry.stop()
    assert not world.apply("rootfs_prepare", name="api", source=registry.source(f"app@{index}"))["changed"]


def test_docker_manifests_are_not_converted(world: World, registry: Registry, layout: Layout) -> None:
    registry.push(layout.path, "app:docker", "two", ["--format", "v2s2"])
    result = world.apply("rootfs_prepare", name="web", source=registry.source("app:docker"))["rootfs"]
    raw = world.run(
        ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{registry.server}/app:docker"]
    ).stdout
    assert json.loads(raw)["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert result["digest"] == "sha256:" + hashlib.sha256(raw.encode()).hexdigest()
    assert version(world, "web") == "2"


def test_secrets(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    """Over TLS with a password, which is nowhere to be seen: command lines, environments, files, result, log."""
    registry = Registry(world, tmp_path, 5001, secure=True)
    registry.push(layout.path, "app:1", "one")
    spy = tmp_path / "seen"
    real = world.sh("command -v skopeo").strip()
    world.sh(
        f"mkdir -p /usr/local/sbin; printf '%s\\n' '#!/bin/sh' 'tr \"\\\\0\" \"\\\\n\" </proc/$$/cmdline >>{spy}' 'env >>{spy}'"
        f" 'exec {real} \"$@\"' >/usr/local/sbin/skopeo; chmod 755 /usr/local/sbin/skopeo"
    )
    result = world.apply("rootfs_prepare", name="web", source=registry.source("app:1"))
    assert result["rootfs"]["digest"] == digests(layout)[0]
    listed = world.apply(
        "rootfs_prepare", aggregate=[{"name": "api", "source": registry.source("app:1")}], pull="always"
    )
    seen = spy.read_text()
    assert "--src-authfile" in seen
    places = [seen, json.dumps(result), json.dumps(listed)]
    places.append(
        world.sh(
            "grep -rs . /var/lib/isolation/images/*/image.json /etc/isolation /run/isolation /var/lib/isolation/*.json || true"
        )
    )
    for place in places:
        assert PASSWORD not in place
    assert world.sh("find /tmp -maxdepth 1 -name '.isolation-*'") == ""
    assert world.sh(f"grep -rl '{PASSWORD}' /var/lib/isolation /run/isolation /etc/isolation || true") == ""


WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "wrong password": ({"password": "other"}, "app:1: skopeo inspect failed: .*(unauthorized|required|invalid).*: give username and password"),
    "no password": ({"username": None, "password": None}, "give username and password"),
    "unknown authority": ({"ca_path": None}, "x509.*ca_path"),
    "another authority": ({"ca_path": "/etc/ssl/certs/ca-certificates.crt"}, "x509.*ca_path"),
    "no file of an authority": ({"ca_path": "/nonexistent.pem"}, "/nonexistent.pem: there is no such file"),
}  # fmt: skip


def test_what_a_secure_registry_refuses(world: World, layout: Layout, tmp_path: pathlib.Path) -> None:
    registry = Registry(world, tmp_path, 5001, secure=True)
    registry.push(layout.path, "app:1", "one")
    before = world.snapshot()
    for options, message in WRONG.values():
        source = without_none(registry.source("app:1", **options))
        result = world.module("rootfs_prepare", name="web", source=source, check=len(options) > 1)
        assert result["failed"]
        assert re.search(message, result["msg"]), result["msg"]
        assert USER + ":" not in result["msg"]
    assert world.snapshot() == before
    login = world.run(
        ["skopeo", "login", "--tls-verify=false", "-u", USER, "--password-stdin", registry.server], stdin=PASSWORD
    )
    assert "Succeeded" in login.stdout
    source = without_none(registry.source("app:1", username=None, password=None))
    assert world.apply("rootfs_prepare", name="web", source=source)["changed"]


def test_killed_while_it_copies(world: World, layout: Layout, registry: Registry) -> None:
    """The tool ends with the run, and the next run is none the wiser."""
    registry.push(layout.path, "app:1", "one")
    real = world.sh("command -v skopeo").strip()
    tool = "/usr/local/sbin/skopeo"
    script = f'#!/bin/sh\nfor word; do [ "$word" != copy ] || exec sleep 1234; done\nexec {real} "$@"\n'
    world.run(["sh", "-c", f"mkdir -p /usr/local/sbin; cat >{tool}; chmod 755 {tool}"], stdin=script)
    arguments = {"name": "web", "source": registry.source("app:1"), "_ansible_remote_tmp": "/tmp"}
    running = world.popen(
        ["env", f"PYTHONPATH={COLLECTIONS}:{World._ansible_path()}", world.python, "-m",
         "ansible_collections.daemonless.isolation.plugins.modules.rootfs_prepare"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert running.stdin is not None
    running.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    running.stdin.close()
    world.wait(lambda: world.run(["pgrep", "-f", "sleep 1234"], check=False).stdout, what="copy")
    (module,) = pathlib.Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(module), signal.SIGKILL)
    running.wait(10)
    world.wait(lambda: not world.run(["pgrep", "-f", "sleep 1234"], check=False).stdout, what="end of the tool")
    assert ".staged-" in world.sh(f"ls -A {IMAGES}")
    world.sh(f"rm {tool}")
    assert world.apply("rootfs_prepare", name="web", source=registry.source("app:1"))["changed"]
    assert ".staged-" not in world.sh(f"ls -A {IMAGES}")


def test_a_registry_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skopeo, "_ASKING", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            IsolationError, match=f"{server}/app:1: skopeo inspect: no end after 1 s: is the registry up"
        ):
            skopeo.inspect(f"{server}/app:1", skopeo.Access(server, tls_verify=False))


def without_none(value: t.Any) -> t.Any:
    return (
        {key: without_none(item) for key, item in value.items() if item is not None}
        if isinstance(value, dict)
        else value
    )


def test_without_skopeo(world: World, layout: Layout, registry: Registry) -> None:
    """Check mode warns; applying fails, and leaves nothing."""
    registry.push(layout.path, "app:1", "one")
    hidden = "/var/lib/empty-file"
    world.sh(f"touch {hidden}; chmod 600 {hidden}; mount --bind {hidden} $(command -v skopeo)")
    before = world.snapshot()
    predicted = world.module("rootfs_prepare", check=True, name="web", source=registry.source("app:1"))
    assert not predicted.get("failed"), predicted
    assert predicted["changed"]
    assert predicted["results"][0]["predicted"]
    assert "skopeo is not installed" in json.dumps(predicted["warnings"])
    result = world.module("rootfs_prepare", name="web", source=registry.source("app:1"))
    assert result["failed"]
    assert "skopeo is not installed on this host: install the package skopeo" in result["msg"]
    assert world.snapshot() == before
