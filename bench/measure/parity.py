# SPDX-License-Identifier: Apache-2.0
"""What must be the same in every arm of a comparison, and the words for what is not.

Taken after a system is configured, so that what it changed on the way (XDP on a veth switches its peer's TSO
off, a rule switches connection tracking on) is seen.
"""

import contextlib
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from bench.measure.counters import conntrack_entries
from bench.testbed.base import Chain, Interface, Namespace
from bench.testbed.ethtool import Ethtool

MACHINE_SYSCTLS = (
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/dev_weight",
    "net/core/netdev_budget",
    "net/core/netdev_budget_usecs",
    "net/core/netdev_max_backlog",
    "net/core/rps_sock_flow_entries",
)
"""Settings of the machine that change what a packet costs; only its first network namespace shows them."""

GATEWAY_SYSCTLS = (
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/g0/rp_filter",
    "net/ipv4/ip_early_demux",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/accept_ra",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_checksum",
)
"""The same, kept for each namespace."""


def arm_parity(chain: Chain, cpus: set[int] | None = None) -> dict[str, Any]:
    """What one arm looks like now: {"kernel", "cpus", "sysctls", "conntrack", "client_if": {...}, ...}.

    `cpus` are those the measurement may use, by default the caller's. Send something through the gateway
    first: connection tracking shows by its entries, since not every kernel can list its hooks.
    """
    found: dict[str, Any] = {
        "kernel": platform.release(),
        "cpus": sorted(os.sched_getaffinity(0) if cpus is None else cpus),
        "sysctls": _sysctls(MACHINE_SYSCTLS) | gateway_sysctls(chain.gateway),
        "conntrack": tracks_connections(chain.gateway),
    }
    return found | {role: link(interface) for role, interface in chain.interfaces.items()}


def gateway_sysctls(namespace: Namespace) -> dict[str, str]:
    """The settings that matter in the gateway's namespace."""
    with namespace.enter():
        return _sysctls(GATEWAY_SYSCTLS)


def tracks_connections(namespace: Namespace) -> bool:
    """Whether the kernel has tracked anything here."""
    with namespace.enter():
        return conntrack_entries() > 0


def link(interface: Interface) -> dict[str, Any]:
    """MTU, queues, carrier, queueing discipline and every feature that is on, of one end."""
    with interface.namespace.enter(), Ethtool() as ethtool, IPRoute() as netlink:
        (found,) = netlink.get_links(interface.index)
        features = ethtool.features(interface.name)
        return {
            "mtu": found.get("mtu"),
            "qdisc": found.get("qdisc"),
            "up": bool(found["flags"] & 1),
            "channels": ethtool.channels(interface.name),
            "features": sorted(name for name, on in features.items() if on),
        }


def compare_parity(arms: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(system, what differs) for each setting in which a system is not like the most; [] is what one wants.

    A tie is decided for the value of the first system, which is the control.
    """
    flat = {system: _flatten(parity) for system, parity in arms.items()}
    found = []
    for name in sorted({name for settings in flat.values() for name in settings}):
        values = {system: _show(settings.get(name)) for system, settings in flat.items()}
        usual = Counter(values.values()).most_common(1)[0][0] if values else ""
        like = next((system for system, value in values.items() if value == usual), "")
        found += [
            (system, f"{name} is {value}, but {usual} in {like}")
            for system, value in values.items()
            if value != usual
        ]
    return found


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by path; a list becomes a yes for each member, so a difference names the member."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key} ")
        elif isinstance(value, list | tuple | set):
            flat |= {f"{prefix}{key} {member}": True for member in value}
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _show(value: Any) -> str:
    """Yes, no or the value; absent is a no."""
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else json.dumps(value)


def _sysctls(names: Iterable[str]) -> dict[str, str]:
    """Values in the calling thread's namespace; what the kernel lacks or does not show there is left out."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = Path("/proc/sys", name).read_text(encoding="ascii").strip()
    return found
