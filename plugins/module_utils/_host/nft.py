# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nftables, by nft(8): whole tables are read, compared in nft's own form, and replaced in one transaction."""

from __future__ import annotations

import functools
import json
import re
import typing as t
from dataclasses import dataclass

from .._errors import IsolationError
from .nfnetlink import generation
from .process import find_tool, run

_INCLUDED = re.compile(r"^(?!/dev/stdin:)(/\S+?):\d+:", re.MULTILINE)
"""How nft names the place of an error in a file that the text includes: file and line, below the place that includes it."""


class NftError(IsolationError):
    """nft has refused something."""


def available() -> bool:
    """Whether nft is installed. Where it is not, no table of ours can exist."""
    return find_tool("nft") is not None


def _missing(stderr: str) -> bool:
    return "No such file or directory" in stderr


def list_text(table: str) -> str | None:
    """A table (`inet NAME`) in nft's own form without counters' values; None if there is none.

    :raises NftError: nft failed.
    """
    if not available():
        return None
    done = run(["nft", "--stateless", "list", "table", *table.split()], check=False)
    if done.returncode == 0:
        return done.stdout
    if _missing(done.stderr):
        return None
    raise NftError(f"nft list table {table}: {done.stderr.strip()}")


def list_json(table: str) -> list[dict[str, t.Any]] | None:
    """The objects of a table (`inet NAME`) as nft's JSON has them (libnftables-json(5)); None if there is none.

    :raises NftError: nft failed.
    """
    if not available():
        return None
    # Numbers, or nft looks up each element's protocol by its name in /etc/protocols.
    done = run(["nft", "--json", "--numeric", "list", "table", *table.split()], check=False)
    if done.returncode == 0:
        return list(json.loads(done.stdout)["nftables"])
    if _missing(done.stderr):
        return None
    raise NftError(f"nft list table {table}: {done.stderr.strip()}")


def list_terse(table: str) -> list[dict[str, t.Any]] | None:
    """As `list_json`, but without elements, and quick however many there are; None if there is no such table.

    Asked of all tables of the family: of one alone nft 1.0.6 fetches the elements even if it does not show them.

    :raises NftError: nft failed.
    """
    if not available():
        return None
    family, name = table.split()
    done = run(["nft", "--json", "--numeric", "--terse", "list", "ruleset", family], check=False)
    if done.returncode != 0:
        # Tables of others may hold what this nft can't print.
        return list_json(table)
    found = [
        item
        for item in json.loads(done.stdout)["nftables"]
        for kind, body in item.items()
        if body.get("family") == family and body.get("name" if kind == "table" else "table") == name
    ]
    return found or None


def base_chains() -> list[dict[str, t.Any]]:
    """The chains of all tables that hang on a hook, as nft's JSON has them; none if nft can't tell.

    Rulesets of other tools may hold what this nft can't print; what concerns others is no reason to fail.
    """
    number = generation()
    return _base_chains_at.__wrapped__(None) if number is None else _base_chains_at(number)


@functools.lru_cache(maxsize=1)
def _base_chains_at(_generation: int | None) -> list[dict[str, t.Any]]:
    if not available():
        return []
    done = run(["nft", "--json", "list", "chains"], check=False)
    if done.returncode != 0:
        return []
    objects = json.loads(done.stdout)["nftables"]
    return [item["chain"] for item in objects if "hook" in item.get("chain", {})]


def rules(table: str) -> list[dict[str, t.Any]]:
    """The objects of somebody else's table (`ip NAME`) without elements, as nft's JSON has them; none if nft can't tell."""
    done = run(["nft", "--json", "--terse", "list", "table", *table.split()], check=False)
    return list(json.loads(done.stdout)["nftables"]) if done.returncode == 0 else []


def _in_scratch(tables: t.Sequence[str], text: str, option: str) -> str | None:
    """What nft lists of tables after `text` was loaded in an empty network namespace that ends with it.

    :raises NftError: this nft or this kernel does not take the text.
    """
    if not available():
        return None
    # One call for each: nft 1.0.6 finds only the last of several in one.
    listings = " && ".join(f"nft {option} list table {table}" for table in tables)
    done = run(["unshare", "--net", "sh", "-c", f"nft -f - && {listings}"], stdin=text, check=False)
    if done.returncode != 0:
        told = done.stderr.strip()
        included = _INCLUDED.search(told)
        remedy = "nftables 1.0.6 or newer and a kernel with NAT and fib expressions are needed"
        if included is not None:
            remedy = f"mend or remove {included.group(1)}"
        raise NftError(f"table {tables[0]}: this host can't take the rules: {told}: {remedy}")
    return done.stdout


@functools.lru_cache(maxsize=4)
def canonical(tables: tuple[str, ...], text: str) -> str | None:
    """What `list_text` would tell of the tables, in this order, after loading `text`. None where nft is not installed.

    :raises NftError: this nft or this kernel does not take the text.
    """
    return _in_scratch(tables, text, "--stateless")


@functools.lru_cache(maxsize=4)
def canonical_skeleton(table: str, text: str) -> str | None:
    """What `skeleton` would tell of `table` after loading `text`. None where nft is not installed.

    :raises NftError: this nft or this kernel does not take the text.
    """
    listing = _in_scratch((table,), text, "--json --numeric")
    return None if listing is None else skeleton(json.loads(listing)["nftables"])


def skeleton(objects: t.Iterable[dict[str, t.Any]]) -> str:
    """The definitions of a table from its JSON: all but elements, handles and nft's own version, in a form to compare."""
    kept = []
    for item in objects:
        for kind, body in item.items():
            if kind != "metainfo":
                kept.append([kind, {key: value for key, value in body.items() if key not in ("handle", "elem")}])
    return json.dumps(kept, sort_keys=True)


@dataclass(frozen=True)
class ApplyRuleset:
    """Step: hand a script to nft as one transaction: all of it or nothing."""

    text: str
    what: str

    def run(self) -> None:
        """Do so.

        :raises NftError: nft or the kernel refused it; nothing has been changed.
        """
        done = run(["nft", "-f", "-"], stdin=self.text, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            answer = "; ".join(lines[:4]) or f"status {done.returncode}"
            raise NftError(f"{self.what}: nft refused the transaction, nothing was changed: {answer}")
