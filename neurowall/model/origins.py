# SPDX-License-Identifier: Apache-2.0
"""Sources that have no business on the internet: the words of bpf/spoof.h and of the nftables form."""

from collections.abc import Mapping

MARTIANS: Mapping[int, tuple[str, ...]] = {
    4: ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3"),
    6: ("::/127", "ff00::/8"),
}
"""No host has such an address: unspecified, loopback, groups, reserved, broadcast. Nor one in MAPPED."""

MAPPED = ("::ffff:0:0", 96)
"""IPv4-mapped: never on the wire, so neither a policy nor a packet in words can name it."""

BOGONS: Mapping[int, tuple[str, ...]] = {
    4: (
        *("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
        *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    ),
    6: (
        *("64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "3fff::/20"),
        *("5f00::/16", "fc00::/7", "fec0::/10"),
    ),
}
"""Not globally reachable (RFC 6890 and its registries): private, documentation, benchmarks, ULA ..."""

LINK_LOCAL: Mapping[int, str] = {4: "169.254.0.0/16", 6: "fe80::/10"}
"""Means another host on each link: one of ours is ours only on its own."""
