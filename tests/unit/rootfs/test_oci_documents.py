# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents of images: which image is meant, whether it can run here, and what is no image at all."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import IsolationError
from ansible_collections.daemonless.isolation.plugins.module_utils._image import (
    REF_NAME,
    Descriptor,
    Platform,
    check_platform,
    choose_entry,
    choose_platform,
    choose_saved,
    host_variants,
    is_index,
    layer_compression,
    parse_config,
    parse_index,
    parse_manifest,
    parse_saved,
)

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": A, "size": 3}
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(digest: str, architecture: str | None = None, variant: str = "", name: str | None = None) -> Descriptor:
    platform = Platform("linux", architecture, variant) if architecture else None
    return Descriptor("application/vnd.oci.image.manifest.v1+json", digest, 1, platform, name)


def packed(document: t.Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("machine", "platforms", "chosen"),
    [
        ("x86_64", ["arm64", "amd64"], 1),
        ("x86_64", ["amd64/v1", "amd64"], 1),
        ("x86_64", ["amd64/v3", "amd64/v1"], 1),
        ("aarch64", ["arm64/v8", "amd64"], 0),
        ("armv7l", ["arm/v6", "arm/v7"], 1),
        ("armv7l", ["arm/v5", "arm/v6"], 1),
        ("armv6l", ["arm/v7", "arm/v6"], 1),
        ("riscv64", ["riscv64"], 0),
    ],
)
def test_an_index_means_the_best_for_a_machine(machine: str, platforms: list[str], chosen: int) -> None:
    entries = []
    for digest, text in zip((A, B), platforms):
        architecture, _slash, variant = text.partition("/")
        entries.append(entry(digest, architecture, variant))
    assert choose_platform(entries, machine, "x") is entries[chosen]


@pytest.mark.parametrize(
    ("machine", "entries", "message"),
    [
        ("x86_64", [entry(A, "arm64", "v8"), entry(B, "s390x")], "no image for linux/amd64.*there are linux/arm64/v8, linux/s390x"),
        ("x86_64", [entry(A, "amd64", "v3")], "there are linux/amd64/v3"),
        ("armv6l", [entry(A, "arm", "v7")], "no image for linux/arm/v6"),
        ("x86_64", [], "there are none"),
        ("x86_64", [Descriptor("m", A, 1, Platform("unknown", "unknown"))], "there are none"),
    ],
)  # fmt: skip
def test_an_index_without_an_image_for_a_machine(machine: str, entries: list[Descriptor], message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        choose_platform(entries, machine, "x")


def test_an_image_of_another_architecture_is_refused_by_both_names() -> None:
    with pytest.raises(IsolationError, match="for linux/arm64/v8, but this host is linux/amd64"):
        check_platform(Platform("linux", "arm64", "v8"), "x86_64", "x")
    for fitting in host_variants("armv7l"):
        check_platform(fitting, "armv7l", "x")


@pytest.mark.parametrize(
    ("entries", "reference", "chosen"),
    [
        ([entry(A)], None, A),
        ([entry(A, name="one")], None, A),
        ([entry(A, name="one"), entry(B, name="two")], "two", B),
        ([entry(A, name="one"), entry(B, name="two")], A, A),
        ([entry(A, "arm64", name="one"), entry(B, "amd64", name="one")], "one", B),
        ([entry(A, "arm64"), entry(B, "amd64")], None, B),
    ],
)
def test_references_of_a_layout(entries: list[Descriptor], reference: str | None, chosen: str) -> None:
    assert choose_entry(entries, reference, "x86_64", "x").digest == chosen


@pytest.mark.parametrize(
    ("entries", "reference", "message"),
    [
        ([entry(A, name="one"), entry(B)], "two", f"no image 'two': there are one .{A}., {B}"),
        ([entry(A, name="one"), entry(B, name="two")], None, "which image is meant. give reference: there are one"),
        ([], None, "there are none"),
    ],
)
def test_references_that_a_layout_does_not_have(entries: list[Descriptor], reference: str | None, message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        choose_entry(entries, reference, "x86_64", "x")


SAVED = parse_saved(
    packed(
        [
            {"Config": f"{'a' * 64}.json", "RepoTags": ["app:1", "app:latest"], "Layers": ["x/layer.tar"]},
            {"Config": f"blobs/sha256/{'b' * 64}", "RepoTags": ["docker.io/library/other:2"], "Layers": []},
            {"Config": "plain.json", "RepoTags": None, "Layers": []},
        ]
    ),
    "x",
)


@pytest.mark.parametrize(
    ("reference", "index"),
    [("app:1", 0), ("app", 0), ("docker.io/library/app:1", 0), (A, 0), (B, 1), ("other:2", 1), ("docker.io/library/other:2", 1)],
)  # fmt: skip
def test_references_of_docker_save(reference: str, index: int) -> None:
    assert choose_saved(SAVED, reference, "x") is SAVED[index]


@pytest.mark.parametrize("reference", [None, "app:2", C, "plain"])
def test_references_that_docker_save_does_not_have(reference: str | None) -> None:
    with pytest.raises(IsolationError, match=r"there are app:1, app:latest, docker.io/library/other:2, plain.json"):
        choose_saved(SAVED, reference, "x")


def test_a_manifest() -> None:
    layers = [{"mediaType": GZIP, "digest": B, "size": 5}, {"mediaType": GZIP, "digest": C, "size": 0}]
    found = parse_manifest(packed({"schemaVersion": 2, "config": CONFIG, "layers": layers}), "x")
    assert (found.config.digest, [layer.digest for layer in found.layers]) == (A, [B, C])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"mediaType": "application/vnd.oci.image.layer.v1.tar+lz4"}, r"unknown media type .*tar\+lz4"),
        ({"mediaType": GZIP + "+encrypted"}, "encrypted"),
        ({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, "foreign"),
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}, "foreign"),
        ({"mediaType": GZIP, "urls": ["http://x"]}, "foreign"),
        ({"mediaType": GZIP, "digest": "sha256:../../etc/passwd"}, "not a sha256 digest"),
        ({"mediaType": GZIP, "digest": "sha512:" + "a" * 128}, "not a sha256 digest"),
        ({"mediaType": GZIP, "size": -1}, "not a sha256 digest and a size"),
        ({"mediaType": GZIP, "size": True}, "damaged"),
        ({"mediaType": 7}, "damaged"),
    ],
)
def test_layers_that_cannot_be_unpacked(layer: dict[str, t.Any], message: str) -> None:
    given_layer = {"digest": B, "size": 5, **layer}
    with pytest.raises(IsolationError, match=message):
        parse_manifest(packed({"config": CONFIG, "layers": [given_layer]}), "x")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (packed([]), "neither an index nor a manifest"),
        (packed({"schemaVersion": 1, "fsLayers": []}), "schemaVersion 1.: push it again"),
        (packed({"manifests": [], "layers": []}), "both manifests and layers"),
    ],
)
def test_what_is_no_image(document: bytes, message: str) -> None:
    with pytest.raises(IsolationError, match=message):
        is_index(document, "x")


def test_artifacts_that_are_no_container_images() -> None:
    config = {**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}
    with pytest.raises(IsolationError, match=r"helm.*not the configuration of a container image"):
        parse_manifest(packed({"config": config, "layers": []}), "x")


def test_names_of_an_index() -> None:
    annotated = {
        **CONFIG,
        "annotations": {REF_NAME: "v1"},
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
    }
    (found,) = parse_index(packed({"manifests": [annotated]}), "x")
    assert (found.name, str(found.platform)) == ("v1", "linux/arm/v7")


def test_layers_have_a_compression() -> None:
    kinds = [f"application/vnd.oci.image.layer.v1.tar{suffix}" for suffix in ("", "+gzip", "+zstd")]
    assert [layer_compression(Descriptor(kind, A, 1), "x") for kind in kinds] == ["tar", "gzip", "zstd"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["config", "layers", "manifests", "digest", "size", "mediaType", "rootfs", "diff_ids", "platform", "os", "annotations"]),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(json_values)
def test_whatever_a_document_holds_is_parsed_or_refused(value: t.Any) -> None:
    for parse in (parse_index, parse_manifest, parse_config, parse_saved, is_index):
        with contextlib.suppress(IsolationError):
            parse(packed(value), "x")
