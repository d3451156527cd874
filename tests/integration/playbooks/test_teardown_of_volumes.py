# Copyright (c) 2026 daemonless.isolation contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named volumes from the inventory to the teardown, which leaves them unless it is told otherwise."""

from __future__ import annotations

from stage import Site
from world import difference


def test_a_teardown_leaves_volumes_unless_told(site: Site) -> None:
    world = site.world
    clean = world.snapshot()
    site.service["mounts"] = [{"type": "volume", "source": "web-data", "target": "/var/lib/web"}]
    assert site.changed("deploy") > 0
    assert site.changed("deploy", "--check", "--diff") == 0
    world.sh("echo kept >/var/lib/isolation/volumes/web-data/file")

    site.changed("teardown", "-e", "teardown_images=true")
    left = difference(clean, world.snapshot())
    assert set(left) == {"files"}
    assert world.sh("cat /var/lib/isolation/volumes/web-data/file") == "kept\n"

    site.changed("teardown", "-e", "isolation_teardown_volumes=true")
    assert difference(clean, world.snapshot()) == {}
