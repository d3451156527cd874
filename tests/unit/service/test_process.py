# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service is started with, and what of it looks like a mistake."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.daemonless.isolation.plugins.module_utils._errors import InvalidOption
from ansible_collections.daemonless.isolation.tests.unit.service.test_bundle import config
from ansible_collections.daemonless.isolation.tests.unit.service.test_plan import bare, one, settled, spec

HARMLESS = [
    ("KEYBOARD", "us"), ("PUBLIC_KEY_URL", "https://example.org/key"), ("DB_PASSWORD_FILE", "/run/secrets/db"), ("TOKENIZER", "fast"),
    ("SECRET_TOKEN", "/run/secrets/token"), ("PASSWORD", ""), ("MONKEY", "x"), ("SECRETS_DIR", "/run/secrets"), ("KEY", "C#"),
    ("API_KEY_HEADER", "X-Key"), ("REVISION", "3fa91c2d5b6e7f8091a2b3c4d5e6f708192a3b4c"), ("TOKEN_TTL", "60"),
]  # fmt: skip
SECRETS = [
    ("PASSWORD", "canary"), ("DB_PASSWORD", "canary"), ("db_passwd", "canary"), ("API_KEY", "canary"), ("APIKEY", "canary"),
    ("GITHUB_TOKEN", "canary"), ("AWS_SECRET_ACCESS_KEY", "canary"), ("CLIENT_SECRET", "canary"),
    ("A", "ghp_" + "canary" * 6), ("A", "-----BEGIN PRIVATE KEY-----\ncanary"), ("A", "AKIA" + "CANARY12" * 2),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), HARMLESS)
def test_harmless_variables(key: str, value: str) -> None:
    assert dict(spec(environment={key: value}).environment)[key] == value


@pytest.mark.parametrize(("key", "value"), SECRETS)
def test_secrets_in_the_environment_are_refused_and_not_told(key: str, value: str) -> None:
    with pytest.raises(InvalidOption, match=f"^web: environment: {key} looks like a secret") as refusal:
        spec(environment={key: value})
    assert value not in str(refusal.value)
    assert spec(environment={key: value}, allow_secrets_in_environment=True).record() == {
        **spec().record(), "environment": {**spec().record()["environment"], key: value},
    }  # fmt: skip


def test_the_bundle() -> None:
    made = config(spec(umask="027", oom_score_adj=7), groups=(5, 6))["process"]
    assert (made["user"]["additionalGids"], made["user"]["umask"], made["oomScoreAdj"]) == ([5, 6], 0o027, 7)
    assert not {"umask", "additionalGids"} & set(config()["process"]["user"])


@pytest.mark.parametrize(
    "given", [{"groups": ["extra"]}, {"umask": "0077"}, {"oom_score_adj": 1}], ids=lambda given: next(iter(given))
)
def test_changes_restart(given: dict[str, t.Any]) -> None:
    changed = one(spec(**given), settled(spec()))
    assert [(change.key, change.effect) for change in changed.changes] == [(next(iter(given)), "restart")]
    assert not one(spec(**given), settled(spec(**given))).changed


def test_a_new_service_shows_none_of_what_it_does_not_ask_for() -> None:
    keys = {change.key for change in one(spec(), bare("web")).changes}
    assert not {"groups", "umask", "oom_score_adj", "namespaces"} & keys
