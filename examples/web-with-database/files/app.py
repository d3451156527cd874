# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 daemonless.isolation contributors

"""Notes in a database. GET / tells them, POST / adds one; /healthz asks whether the database answers."""

from __future__ import annotations

import http.server
import json
import time
import typing as t

import psycopg2


def connect() -> t.Any:
    """A session with the database. Its name leads to whatever instance serves; the password is in a file that only this service has."""
    with open("/run/secrets/db_password", encoding="utf-8") as stream:
        password = stream.read()
    return psycopg2.connect(host="db", user="postgres", password=password, connect_timeout=3)


def execute(statement: str, *values: str) -> list[tuple[t.Any, ...]]:
    """Execute one statement in a transaction of its own, and give its rows."""
    session = connect()
    try:
        with session, session.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        session.close()


class Notes(http.server.BaseHTTPRequestHandler):
    """Each request asks the database."""

    def answer(self, status: int, content: t.Any) -> None:
        """Send JSON."""
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Tell the notes."""
        try:
            if self.path == "/healthz":
                self.answer(200, execute("SELECT count(*) FROM notes")[0][0])
            else:
                self.answer(200, [row[0] for row in execute("SELECT note FROM notes ORDER BY id")])
        except psycopg2.Error as error:
            self.answer(503, type(error).__name__)

    def do_POST(self) -> None:
        """Add a note: the body is its text."""
        text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        try:
            execute("INSERT INTO notes (note) VALUES (%s)", text)
            self.answer(201, text)
        except psycopg2.Error as error:
            self.answer(503, type(error).__name__)


class Server(http.server.ThreadingHTTPServer):
    """Answers many at once."""

    request_queue_size = 64


def prepare() -> None:
    """Have the table. A new database may take a while until it answers."""
    while True:
        try:
            execute("CREATE TABLE IF NOT EXISTS notes (id serial PRIMARY KEY, note text NOT NULL)")
            return
        except psycopg2.OperationalError as error:
            print(error, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    prepare()
    Server(("", 3000), Notes).serve_forever()
