# SPDX-License-Identifier: Apache-2.0
"""Every counter the kernel keeps about a chain, flat by name, so that a difference says where packets went.

Names are `<role>/<source>/<counter>`, for example `gateway_in/dev/rx_packets`, `gateway_in/xdp/drops` (veth's
own statistics, summed over queues), `gateway/ip/InHdrErrors`, `gateway/ip6/InNoRoutes`, and
`machine/softnet/dropped`, which counts for the whole machine and not for one namespace. Read them in trials
of their own or outside the measured window: a snapshot costs about a millisecond.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bench.testbed.base import Chain, Namespace
from bench.testbed.ethtool import Ethtool

Counters = Mapping[str, int]

_NET = Path("/proc/thread-self/net")  # /proc/net would be the main thread's namespace
_DEV_RX = ("bytes", "packets", "errors", "dropped", "fifo", "frame", "compressed", "multicast")
_DEV_TX = ("bytes", "packets", "errors", "dropped", "fifo", "collisions", "carrier", "compressed")
_DEV = (*(f"rx_{name}" for name in _DEV_RX), *(f"tx_{name}" for name in _DEV_TX))
_SNMP_KEPT = {"Ip": "ip", "IpExt": "ip", "Icmp": "icmp", "Udp": "udp"}
_SNMP6_KEPT = {"Ip6": "ip6", "Icmp6": "icmp6", "Udp6": "udp6"}
_SOFTNET = ("processed", "dropped", "time_squeeze")  # the first three columns, hexadecimal
_QUEUE = re.compile(r"[rt]x_queue_\d+_(?:xdp_)?(.+)")


def snapshot(chain: Chain) -> dict[str, int]:
    """All counters of a chain's four interfaces and three namespaces, and of the machine."""
    found = softnet()
    for role, namespace in (("client", chain.client), ("gateway", chain.gateway), ("server", chain.server)):
        ends = {end: i.name for end, i in chain.interfaces.items() if i.namespace is namespace}
        found |= in_namespace(namespace, role, ends)
    return found


def in_namespace(namespace: Namespace, role: str, ends: Mapping[str, str]) -> dict[str, int]:
    """Counters of one namespace, and of its devices, given as {role: device name}."""
    found: dict[str, int] = {}
    with namespace.enter(), Ethtool() as ethtool:
        devices = _devices()
        for end, device in ends.items():
            found |= {f"{end}/dev/{name}": value for name, value in devices[device].items()}
            found |= {f"{end}/xdp/{name}": value for name, value in veth(ethtool, device).items()}
        protocol = {**_tables("snmp"), **_tables("netstat"), **_pairs("snmp6"), **_conntrack()}
    return found | {f"{role}/{name}": value for name, value in protocol.items()}


def difference(before: Counters, after: Counters) -> dict[str, int]:
    """What changed: later less earlier, zeroes left out. Names missing in one of them count from zero."""
    names = {*before, *after}
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in sorted(names)}
    return {name: change for name, change in changes.items() if change}


def veth(ethtool: Ethtool, device: str) -> dict[str, int]:
    """The driver's per-queue counters, summed: packets, bytes, drops, redirect, xmit_errors ...

    `drops` is kept apart: `ring_drops` are frames lost before or after a program, `drops` those a program
    dropped or aborted, `xmit_errors` frames redirected into this device that its peer's receive ring had no
    room for.
    """
    sums: dict[str, int] = {}
    for name, value in ethtool.statistics(device).items():
        if match := _QUEUE.fullmatch(name):
            short = "ring_drops" if name.endswith("_drops") and "_xdp_" not in name else match[1]
            sums[short] = sums.get(short, 0) + value
    return sums


def softnet() -> dict[str, int]:
    """Per-CPU backlog counters of the machine, summed over CPUs."""
    rows = [line.split() for line in (_NET / "softnet_stat").read_text(encoding="ascii").splitlines()]
    return {
        f"machine/softnet/{name}": sum(int(row[column], 16) for row in rows)
        for column, name in enumerate(_SOFTNET)
    }


def _devices() -> dict[str, dict[str, int]]:
    found = {}
    for line in (_NET / "dev").read_text(encoding="ascii").splitlines()[2:]:
        device, _, values = line.partition(":")
        found[device.strip()] = dict(zip(_DEV, map(int, values.split()), strict=True))
    return found


def _tables(file: str) -> dict[str, int]:
    """`snmp` and `netstat`: pairs of lines, names and values, each led by the protocol."""
    lines = (_NET / file).read_text(encoding="ascii").splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        head, *columns = names.split()
        protocol = _SNMP_KEPT.get(head.rstrip(":"))
        if protocol:
            pairs = zip(columns, values.split()[1:], strict=True)
            found |= {f"{protocol}/{name}": int(value) for name, value in pairs}
    return found


def _pairs(file: str) -> dict[str, int]:
    """`snmp6`: one name and value a line; absent without IPv6."""
    path = _NET / file
    found = {}
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else []:
        name, value = line.split()
        for prefix, protocol in _SNMP6_KEPT.items():
            if name.startswith(prefix):
                found[f"{protocol}/{name.removeprefix(prefix)}"] = int(value)
    return found


def conntrack_entries() -> int:
    """Connections tracked in the calling thread's namespace; 0 where the kernel cannot."""
    path = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return int(path.read_text(encoding="ascii")) if path.exists() else 0


def _conntrack() -> dict[str, int]:
    """Connection tracking: failures summed over CPUs, and how many entries there are; absent without it."""
    path = _NET / "stat/nf_conntrack"
    if not path.exists():
        return {}
    names, *rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    columns = [names.index(name) for name in ("insert_failed", "drop", "early_drop") if name in names]
    sums = {names[column]: sum(int(row[column], 16) for row in rows) for column in columns}
    sums["entries"] = int(rows[0][names.index("entries")], 16)
    return {f"conntrack/{name}": value for name, value in sums.items()}
