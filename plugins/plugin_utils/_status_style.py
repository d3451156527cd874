# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the page of the report looks. It is one page with no script and nothing that is loaded from elsewhere.

Note: this is private to the collection, and may change at any time.
"""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --sheet: #fff; --ink: #1b2230; --soft: #566074; --line: #d9dee7; --link: #0b57c2;
  --good: #17663a; --good-back: #e3f4e9; --warn: #7a4d00; --warn-back: #fdf0d5; --bad: #a1201c; --bad-back: #fce6e4;
  --idle: #4a5468; --idle-back: #e9ecf2; --bar: #5b7fb8; --bar-high: #b4451f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161d; --sheet: #1a2029; --ink: #e6eaf2; --soft: #a3adbf; --line: #323b49; --link: #8ab8ff;
    --good: #86dba6; --good-back: #173324; --warn: #f3c26b; --warn-back: #3a2c10; --bad: #ff9d97; --bad-back: #43201f;
    --idle: #b7c0d0; --idle-back: #2a323f; --bar: #6d97d8; --bar-high: #ec8a63;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.wrap { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
.skip { position: absolute; left: -9999px; }
.skip:focus { left: 8px; top: 8px; background: var(--sheet); padding: 8px 12px; border: 2px solid var(--link); }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
header { padding: 24px 0 8px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 28px 0 10px; }
h3 { font-size: 1.05rem; margin: 0; display: inline; overflow-wrap: anywhere; }
h4 { font-size: .95rem; margin: 18px 0 6px; }
.soft { color: var(--soft); margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0 0; }
.tiles div { background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.25; }
.tiles dd small { font-size: .85rem; font-weight: 400; color: var(--soft); }
.attention { list-style: none; margin: 0; padding: 0; background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; }
.attention li { padding: 9px 14px; display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; }
.attention li + li { border-top: 1px solid var(--line); }
.attention span.what { flex: 1 1 20rem; min-width: 0; overflow-wrap: anywhere; }
.badge { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: .82rem; font-weight: 600; white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); }
.warn { color: var(--warn); background: var(--warn-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.idle { color: var(--idle); background: var(--idle-back); }
details.host { background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; margin: 0 0 14px; }
summary { padding: 12px 16px; cursor: pointer; }
summary .badge, summary .soft { margin-left: 8px; }
summary .soft { font-size: .9rem; }
.inner { padding: 0 16px 14px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: .82rem; }
th, td { padding: 7px 10px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { color: var(--ink); font-size: inherit; overflow-wrap: anywhere; }
td { overflow-wrap: anywhere; }
td.number, .value { font-variant-numeric: tabular-nums; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .88em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--paper); border: 1px solid var(--line); border-radius: 6px; }
pre { padding: 8px 10px; margin: 6px 0 0; }
@media (min-width: 761px) {
  table { table-layout: fixed; }
  .services th:nth-child(1) { width: 11%; }
  .services th:nth-child(n+2):nth-child(-n+4) { width: 10%; }
  .services th:nth-child(5) { width: 12%; }
  .services th:nth-child(n+6):nth-child(-n+7) { width: 10%; }
  .services th:nth-child(9) { width: 8%; }
  .services th:nth-child(10) { width: 5%; }
  .drift th:nth-child(1), .drift th:nth-child(2) { width: 22%; }
  .drift th:nth-child(5) { width: 10%; }
}
.bar { display: block; height: 5px; width: 100%; max-width: 120px; margin-top: 4px; border-radius: 3px; background: var(--idle-back); overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--bar); }
.bar span.high { background: var(--bar-high); }
.said { border-left: 4px solid var(--bad); padding: 4px 0 4px 12px; margin: 4px 0; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .85rem; padding: 8px 0 32px; }
@media (max-width: 760px) {
  .wrap { padding: 0 12px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .inner { padding: 0 12px 12px; }
  table, tbody, tr, td, tbody th { display: block; width: 100%; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { padding: 10px 0; border-bottom: 1px solid var(--line); }
  tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  td, tbody th { border: 0; padding: 2px 0; }
  tbody th { font-size: 1rem; }
  td { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); gap: 8px; }
  td::before { content: attr(data-label); color: var(--soft); font-size: .85rem; }
  td.none { display: none; }
}
@media print { details.host { break-inside: avoid; } .skip { display: none; } }
"""
