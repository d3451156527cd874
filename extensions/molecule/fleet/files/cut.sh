#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) daemonless.isolation contributors
#
# cut.sh SECONDS: when another release is being started on this machine, drop all that comes in by ssh, for that long.
set -eu

count() {
    set -- /etc/isolation/service/web-*.json
    echo $#
}

before=$(count)
while [ "$(count)" -eq "$before" ]; do
    sleep 0.2
done
nft -f - <<'NFT'
table inet fleet_cut {
    chain input {
        type filter hook input priority -300; policy accept;
        tcp dport 22 drop
    }
}
NFT
sleep "$1"
nft delete table inet fleet_cut
