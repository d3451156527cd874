# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images of layouts, archives and registries as options."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.source_spec import (
    LayoutSource,
    RegistrySource,
    SavedSource,
    Source,
)
from ansible_collections.daemonless.isolation.plugins.module_utils._rootfs.spec import OPTIONS, parse

SUM = "sha256:" + "ab" * 32


def ask(source: dict[str, t.Any], **options: t.Any) -> Source | None:
    checked = ArgumentSpecValidator(OPTIONS).validate({"name": "web", "source": source, **options})
    assert not checked.error_messages, checked.error_messages
    return parse(checked.validated_parameters).source


def registry(image: str, pull: str = "missing", **options: t.Any) -> RegistrySource:
    found = ask({"registry": {"image": image, **options}}, pull=pull)
    assert isinstance(found, RegistrySource)
    return found


def test_layouts_and_archives() -> None:
    assert ask({"oci_layout": {"path": "/srv//a", "reference": "v1"}}) == LayoutSource("/srv/a", "v1")
    assert ask({"docker_archive": {"path": "/srv/a.tar"}}) == SavedSource("/srv/a.tar", None)


@pytest.mark.parametrize(
    ("image", "canonical", "server"),
    [
        ("docker.io/library/nginx", "docker.io/library/nginx:latest", "docker.io"),
        ("localhost/app:1", "localhost/app:1", "localhost"),
        ("localhost:5000/a/b-c/d__e:V1.2-x_y", "localhost:5000/a/b-c/d__e:V1.2-x_y", "localhost:5000"),
        ("registry:5000/app", "registry:5000/app:latest", "registry:5000"),
        ("10.0.0.1:5000/app:1", "10.0.0.1:5000/app:1", "10.0.0.1:5000"),
        ("[2001:db8::1]:5000/app:1", "[2001:db8::1]:5000/app:1", "[2001:db8::1]:5000"),
        (f"quay.io/app@{SUM}", f"quay.io/app@{SUM}", "quay.io"),
        (f"quay.io/app:1@{SUM}", f"quay.io/app@{SUM}", "quay.io"),
    ],
)
def test_images_of_registries(image: str, canonical: str, server: str) -> None:
    found = registry(image)
    assert found.canonical() == {"registry": {"image": canonical}}
    assert found.access.server == server
    again = registry(image, revision="2")
    assert again.canonical() == {"registry": {"image": canonical, "revision": "2"}}


def test_secrets_are_in_no_text_of_a_source() -> None:
    found = registry("quay.io/app", username="puller", password="hidden-7")
    assert found.access.password == "hidden-7"
    assert "hidden-7" not in repr(found)
    assert "puller" not in str(found.canonical())


def test_what_asks_a_registry_again() -> None:
    assert not registry("quay.io/app").always
    assert registry("quay.io/app", pull="always").always


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"oci_layout": {}}, "source.oci_layout.path: needed"),
        ({"oci_layout": {"path": "a"}}, "absolute"),
        ({"docker_archive": {"reference": "x"}}, "source.docker_archive.path: needed"),
        *(
            ({"registry": {"image": image}}, "not an image of a named registry")
            for image in (
                "", "nginx", "library/nginx:1", "Quay.io/App", "quay.io/", "quay.io/a//b", "quay.io/app:", "quay.io/app@sha256:12",
                "https://quay.io/app", "quay.io/app --insecure", "--help", "quay.io/../app", "quay.io/app:-x", "quay.io/" + "a" * 256,
                f"quay.io/app@{SUM}:1",
            )
        ),
        ({"registry": {"image": "quay.io/app", "username": "x"}}, "both username and password"),
        ({"registry": {"image": "quay.io/app", "password": "x"}}, "both username and password"),
        ({"registry": {"image": "quay.io/app", "username": "a:b", "password": "x"}}, "colon"),
        ({"registry": {"image": "quay.io/app", "ca_path": "ca.pem"}}, "absolute"),
        ({"registry": {"image": "quay.io/app", "ca_path": "/ca.pem", "tls_verify": False}}, "tls_verify"),
        ({"oci_layout": {"path": "/a"}, "docker_archive": {"path": "/a"}}, "exactly one"),
    ],
)  # fmt: skip
def test_refused(source: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        ask(source)


def test_only_a_registry_is_pulled() -> None:
    with pytest.raises(InvalidOption, match=r"only source.registry is pulled; source.oci_layout"):
        ask({"oci_layout": {"path": "/a"}}, pull="always")
