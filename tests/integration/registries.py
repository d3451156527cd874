# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry in a world, on its loopback address: plain, or with a certificate of its own authority and a password."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import typing as t

from world import World

USER, PASSWORD = "puller", "pa:ss word-7f3a"


class Registry:
    """Debian's docker-registry, until the world ends."""

    def __init__(self, world: World, folder: pathlib.Path, port: int = 5000, secure: bool = False) -> None:
        self.world = world
        self.folder = folder / f"registry-{port}"
        self.server = f"localhost:{port}"
        self.secure = secure
        self.ca = str(self.folder / "ca.pem")
        self.folder.mkdir()
        http: dict[str, t.Any] = {"addr": f"127.0.0.1:{port}"}
        settings: dict[str, t.Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}},
            "http": http,
        }
        if secure:
            self._certify()
            http["tls"] = {"certificate": str(self.folder / "server.pem"), "key": str(self.folder / "server.key")}
            users = self.folder / "users"
            made = subprocess.run(["htpasswd", "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True)
            users.write_text(made.stdout)
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(users)}}
        (self.folder / "config.yml").write_text(json.dumps(settings))
        self.log = self.folder / "log"
        self.start()

    def start(self) -> None:
        with self.log.open("a") as stream:
            self.process = self.world.popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")], stdout=stream, stderr=stream
            )
        self.world.wait(
            lambda: self.world.run(["ss", "-Hltn", f"sport = :{self.server.partition(':')[2]}"]).stdout, what="registry"
        )

    def stop(self) -> None:
        """End it: the child of the process that has entered the world."""
        entered = self.process.pid
        for child in pathlib.Path(f"/proc/{entered}/task/{entered}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        self.process.wait(10)

    def _certify(self) -> None:
        """An authority, and a certificate of it for localhost."""
        script = f"""cd {self.folder}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >names
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names"""
        subprocess.run(["sh", "-ec", script], capture_output=True, check=True)

    def push(self, layout: pathlib.Path, name: str, reference: str = "", options: t.Sequence[str] = ()) -> None:
        """Copy an image of a layout into the registry."""
        login = ["--dest-creds", f"{USER}:{PASSWORD}"] if self.secure else []
        source = f"oci:{layout}:{reference}" if reference else f"oci:{layout}"
        self.world.run(
            ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *login, *options, source, f"docker://{self.server}/{name}"]
        )  # fmt: skip

    def asked(self) -> list[str]:
        """The requests that it has answered, as `METHOD PATH`."""
        lines = self.log.read_text().splitlines()
        answered = [line for line in lines if any(f'" {status} ' in line for status in (200, 401, 404))]
        return [" ".join(line.split('"')[1].split()[:2]) for line in answered]

    def source(self, name: str, **options: t.Any) -> dict[str, t.Any]:
        """The source of an image of it, as the module takes it."""
        given = {"ca_path": self.ca, "username": USER, "password": PASSWORD} if self.secure else {"tls_verify": False}
        return {"registry": {"image": f"{self.server}/{name}", **given, **options}}
