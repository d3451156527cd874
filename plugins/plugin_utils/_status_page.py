# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of hosts as a page. All that hosts and services have said is escaped. Pure; it runs on the controller.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

import html
import typing as t

from . import _status_words as words
from ._drift import LAYERS
from ._status_style import STYLE

Data = t.Dict[str, t.Any]

ALL_OPEN = 12
"""Up to so many hosts, all are shown in full; of more, those that need attention."""

_HIGH = 90.0

_RANKS = ("unreachable", "failed", "failing", "drifted")

_BADGES = {
    "in_sync": ("good", "✓"),
    "drifted": ("warn", "≠"),
    "failed": ("bad", "✕"),
    "unreachable": ("bad", "⌀"),
    "running": ("good", "✓"),
    "healthy": ("good", "✓"),
    "started": ("good", "✓"),
    "starting": ("idle", "…"),
    "unhealthy": ("bad", "✕"),
    "failing": ("bad", "✕"),
    "missing": ("bad", "✕"),
    "stopped": ("warn", "■"),
    "former": ("idle", "-"),
    "undeclared": ("warn", "?"),
}
"""Colour and sign of each word. Neither tells more than the word does."""

# Should anything get past the escaping: no script runs, and nothing is loaded.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _text(value: t.Any) -> str:
    """A text that is text in a page, in elements and in attributes. Characters that turn its direction are shown as what they are."""
    return html.escape("\n".join(words.plain(line) for line in str(value).split("\n")), quote=True)


def _badge(word: str) -> str:
    kind, sign = _BADGES.get(word, ("idle", "·"))
    shown = words.HOSTS.get(word, word)
    return f'<span class="badge {kind}"><span aria-hidden="true">{sign} </span>{_text(shown)}</span>'


def _tile(label: str, value: t.Any, of: t.Any = None) -> str:
    rest = "" if of is None else f" <small>of {_text(of)}</small>"
    return f"<div><dt>{_text(label)}</dt><dd>{_text(value)}{rest}</dd></div>"


def _tiles(found: Data) -> str:
    tiles = [
        _tile("Hosts in sync", found["in_sync"], found["hosts"]),
        _tile("Services well", found["services_well"], found["services"]),
        _tile("Differences", found["differences"]),
        _tile("Hosts failed", found["failed"]),
        _tile("Hosts unreachable", found["unreachable"]),
    ]
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _attention(report: Data) -> str:
    """What somebody should look at, the worst first, each with a link to its host."""
    found = []
    for index, host in enumerate(report["hosts"], 1):
        link = f'<a href="#host-{index}">{_text(host["name"])}</a>'
        if host["result"] != "in_sync":
            word = host["result"]
            found.append((_RANKS.index(word), f"{_badge(word)} {link}", words.host_line(host)))
        for one in host["services"]:
            if words.needs_attention(one):
                said = words.failure(one) or ""
                found.append(
                    (
                        _RANKS.index("failing"),
                        f"{_badge(one['verdict'])} {link}",
                        f"{one['service']}{': ' if said else ''}{said}",
                    )
                )
    if not found:
        return '<p class="soft">Nothing: every host is as declared, and every service is well.</p>'
    found.sort(key=lambda item: item[0])
    lines = (f'<li>{head}<span class="what">{_text(said)}</span></li>' for _rank, head, said in found)
    return f'<ul class="attention">{"".join(lines)}</ul>'


def _cell(label: str, content: str, kind: str = "") -> str:
    nothing = " none" if content in ("", "-") else ""
    return f'<td role="cell" data-label="{_text(label)}" class="{kind}{nothing}"><span class="value">{content or "-"}</span></td>'


def _used(told: tuple[str, float | None]) -> str:
    text, percent = told
    if percent is None:
        return _text(text)
    high = percent >= _HIGH
    note = f" ({percent:.0f}%)" if high else ""
    kind = ' class="high"' if high else ""
    width = min(100.0, max(1.0, percent))
    return f'{_text(text + note)}<span class="bar" aria-hidden="true"><span{kind} style="width:{width:.0f}%"></span></span>'


def _service_row(host: Data, one: Data) -> str:
    used = words.uses(one)
    mine = sum(found["service"] == one["service"] for found in host["drift"]) if one["role"] != "former" else 0
    kept = words.kept(host, one["service"]) if one["role"] in ("current", "missing") else []
    release = f"<code>{_text(one['release'])}</code>" if one["release"] else "-"
    if kept:
        release += f'<br><span class="soft">kept: {_text(", ".join(kept))}</span>'
    health = words.health(one)
    cells = [
        _cell("Release", release),
        _cell("State", _badge(one["verdict"])),
        _cell("Health", _badge(health) if health in _BADGES else _text(health)),
        _cell("Memory", _used(used["memory"]), "number"),
        _cell("Processes", _used(used["pids"]), "number"),
        _cell("CPU", _used(used["cpu"]), "number"),
        _cell("Ports", "<br>".join(f'<span class="mono">{_text(port)}</span>' for port in words.ports(one))),
        _cell("Restarts", "-" if one["restarts"] is None else _text(one["restarts"]), "number"),
        _cell("Drift", str(mine or "-"), "number"),
    ]
    return f'<tr role="row"><th scope="row" role="rowheader">{_text(one["service"])}</th>{"".join(cells)}</tr>'


def _table(kind: str, caption: str, headings: t.Sequence[str], rows: t.Sequence[str]) -> str:
    """A table whose roles are said, as it is shown as cards where there is little room."""
    head = "".join(f'<th scope="col" role="columnheader">{_text(heading)}</th>' for heading in headings)
    return (
        f'<table class="{kind}" role="table" aria-label="{_text(caption)}"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


_COLUMNS = ("Service", "Release", "State", "Health", "Memory", "Processes", "CPU", "Ports", "Restarts", "Drift")


def _drift_row(one: Data) -> str:
    cells = [
        _cell("What", _text(one["key"])),
        _cell("Is", "nothing" if one["before"] is None else f'<span class="mono">{_text(one["before"])}</span>'),
        _cell("Declared", "nothing" if one["after"] is None else f'<span class="mono">{_text(one["after"])}</span>'),
        _cell("Mending it", _text(one["effect"] or "-")),
    ]
    return f'<tr role="row"><th scope="row" role="rowheader">{_text(one["object"])}</th>{"".join(cells)}</tr>'


def _drift(host: Data) -> str:
    parts = []
    for layer in [*LAYERS, *sorted({one["layer"] for one in host["drift"]} - set(LAYERS))]:
        found = [one for one in host["drift"] if one["layer"] == layer]
        if found:
            title = f"Drift of {layer}: {words.count(len(found), 'difference')}"
            table = _table(
                "drift", title, ("Object", "What", "Is", "Declared", "Mending it"), [_drift_row(one) for one in found]
            )
            parts.append(f"<h4>{_text(title)}</h4>{table}")
    return "".join(parts)


def _failures(host: Data) -> str:
    parts = []
    for one in host["services"]:
        said = words.failure(one)
        if said:
            log = "\n".join(one["failure"]["log"] or [])
            shown = f'<pre tabindex="0" aria-label="Last lines of its log">{_text(log)}</pre>' if log else ""
            parts.append(f'<h4>Why {_text(one["instance"])} does not run</h4><p class="said">{_text(said)}</p>{shown}')
    return "".join(parts)


def _host(index: int, host: Data, is_open: bool) -> str:
    running = sum(one["state"] == "started" for one in host["services"])
    short = words.host_line(host) if host["result"] == "drifted" else ""
    parts = []
    if host["result"] in ("failed", "unreachable"):
        parts.append(f'<p class="said">{_text(words.host_line(host))}</p>')
    rows = [_service_row(host, one) for one in host["services"] if words.is_shown(one)]
    if rows:
        parts.append(_table("services", f"Services of {host['name']}", _COLUMNS, rows))
    parts += [_drift(host), _failures(host)]
    parts += [
        f'<p class="said">Not seen: {_text(entry["name"] or entry["subset"])}: {_text(entry["reason"])}</p>'
        for entry in host["unseen"]
    ]
    told = [words.count(running, "service runs", "services run")] if rows else []
    told += [short] if short else []
    return (
        f'<details class="host" id="host-{index}"{" open" if is_open else ""}><summary><h3>{_text(host["name"])}</h3>{_badge(host["result"])}'
        f'<span class="soft">{_text(", ".join(told))}</span></summary><div class="inner">{"".join(parts)}</div></details>'
    )


def _wants_look(host: Data) -> bool:
    return host["result"] != "in_sync" or any(words.needs_attention(one) for one in host["services"])


def status_page(report: Data) -> str:
    """The report as one page that needs nothing else."""
    hosts = report["hosts"]
    title = f"Services of project {report['project']}"
    sections = "".join(
        _host(index, host, len(hosts) <= ALL_OPEN or _wants_look(host)) for index, host in enumerate(hosts, 1)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#hosts">To the hosts</a>
<div class="wrap">
<header>
<h1>{_text(title)}</h1>
<p class="soft">As of <time datetime="{_text(report["made_at"])}">{_text(report["made_at"])}</time>: {_text(words.summary(report))}</p>
{_tiles(report["summary"])}
</header>
<main>
<section aria-labelledby="attention"><h2 id="attention">Needs attention</h2>{_attention(report)}</section>
<section aria-labelledby="hosts"><h2 id="hosts" tabindex="-1">Hosts</h2>{sections}</section>
</main>
<footer>What is declared is the inventory; what is, was read from each host's kernel and supervisor. Nothing was changed.</footer>
</div>
</body>
</html>
"""
