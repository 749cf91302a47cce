# SPDX-License-Identifier: Apache-2.0
"""What this machine lacks, what that costs, and how to fix it: judged from facts, nothing is asked here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from neurowall.kernel.features import Bpf, Conntrack, Nftables
from neurowall.kernel.machine import ETHERNET, XDP_BASIC, XDP_MULTI_BUFFER, Device
from neurowall.model.history import StorageFacts

State = Literal["ok", "note", "warning", "missing"]

LINKS_SINCE = (5, 9)  # XDP programs attached by links
LARGEST_MTU = 3498  # bytes of a frame that fits one buffer of a page, less headroom and tail
SMALL_CONNTRACK = 65_536  # connections
FULL, LONG_CHAIN = 0.9, 4  # share of the table in use; connections for each bucket

_SLOW = "every packet becomes an skb before it is filtered: a flood costs several times the CPU"
_NATIVE = "use a NIC whose driver has native XDP (ixgbe, i40e, ice, mlx5, virtio_net, veth ...)"
_OFF_WHILE_ATTACHED = ("rx-lro", "rx-vlan-hw-parse", "rx-vlan-stag-hw-parse")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. missing: it is essential. costs and fix are empty where it is ok."""

    area: str
    state: State
    found: str
    costs: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Facts:
    """What was found. lacking: what a daemon cannot run without, each with its remedy.

    interfaces: the names to guard; those of them that exist are among *devices*. storage: what a daemon that
    runs says of its database.
    """

    release: str
    cpus: int
    lacking: tuple[str, ...]
    bpf: Bpf
    nftables: Nftables
    conntrack: Conntrack | None
    forwarding: Mapping[int, bool]
    devices: tuple[Device, ...]
    interfaces: tuple[str, ...]
    storage: StorageFacts | None = None


@dataclass(frozen=True)
class _Feature:
    """What is lost without a feature of nftables, and the kernel's options for it.

    essential: no policy with rules works without.
    """

    costs: str
    options: str
    essential: bool = False


_FEATURES = {
    "states": _Feature("no stateful rule can be enforced", "NF_CONNTRACK, NFT_CT", essential=True),
    "interval sets": _Feature("no prefix can be in a rule", "NF_TABLES of Linux 4.1", essential=True),
    "concatenated ranges": _Feature("rules with prefixes and ports are refused", "NF_TABLES of Linux 5.6"),
    "timeouts": _Feature("timed blocks cannot be enforced where no XDP attaches", "NF_TABLES of Linux 5.6"),
    "limits per source": _Feature("rules with `rate` are refused", "NFT_LIMIT"),
    "connection limits": _Feature("rules with `connection_limit` are refused", "NFT_CONNLIMIT"),
    "reject": _Feature("rules and defaults with `reject` are refused", "NFT_REJECT, NFT_REJECT_INET"),
    "log": _Feature("rules with `log` are refused", "NFT_LOG, NF_LOG_IPV4, NF_LOG_IPV6"),
    "address types": _Feature("port forwards without an `address` are refused", "NFT_FIB_INET"),
    "port forwards": _Feature("port forwards and one-to-one NAT are refused", "NFT_NAT"),
    "masquerade": _Feature("source NAT is refused", "NFT_MASQ"),
    "flowtable": _Feature(
        "established connections take the whole way through the stack, whatever `flowtable` says",
        "NF_FLOW_TABLE, NFT_FLOW_OFFLOAD",
    ),
}
_NOTES = ("flowtable",)  # nobody needs it to be safe


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Everything that was looked at, in the order of the house: machine, kernel, nftables, interfaces."""
    return (
        *_machine(facts),
        *_bpf(facts.bpf),
        *_nftables(facts.nftables),
        *_conntrack(facts.conntrack),
        *_forwarding(facts),
        *_storage(facts.storage),
        *(finding for name in facts.interfaces for finding in _interface(name, facts)),
    )


def _machine(facts: Facts) -> Iterator[Finding]:
    for each in facts.lacking:
        what, _, remedy = each.partition(": ")
        yield Finding("machine", "missing", what, "no daemon runs here", remedy)
    if not facts.lacking:
        yield Finding("machine", "ok", "privilege, bpffs and mount namespace are as a daemon needs them")
    number = re.match(r"(\d+)\.(\d+)", facts.release)
    if number and (int(number[1]), int(number[2])) < LINKS_SINCE:
        costs = "XDP attaches to nothing: lists are enforced in nftables only, far slower"
        yield Finding(
            "machine", "warning", f"Linux {facts.release} has no XDP links", costs, "boot Linux 5.9 or newer"
        )
    else:
        yield Finding("machine", "ok", f"Linux {facts.release}")


def _bpf(bpf: Bpf) -> Iterator[Finding]:
    nothing = "no daemon runs here"
    if bpf.library is None:
        yield Finding("XDP", "missing", "no usable libbpf", nothing, bpf.problem or "install libbpf1")
    elif bpf.problem:
        fix = "ask as root; a kernel needs CONFIG_BPF_SYSCALL and CONFIG_NET"
        yield Finding("XDP", "missing", bpf.problem, nothing, fix)
    else:
        yield Finding("XDP", "ok", f"libbpf {bpf.library}, the kernel loads XDP programs")
        if bpf.ring_problem:
            costs = "`neurowall events` shows nothing; everything is enforced and counted as ever"
            yield Finding("XDP", "note", bpf.ring_problem, costs, "boot Linux 5.8 or newer")
    if bpf.object_problem:
        yield Finding("XDP", "missing", "the compiled program is not there", nothing, bpf.object_problem)
    if bpf.jit is False:
        costs = "the kernel interprets the program: every packet takes many times the CPU"
        yield Finding("XDP", "warning", "BPF is not compiled", costs, "sysctl -w net.core.bpf_jit_enable=1")


def _nftables(nftables: Nftables) -> Iterator[Finding]:
    if nftables.problem:
        costs = "no rules, no NAT, and no lists where XDP does not attach"
        fix = "ask as root; install python3-nftables; a kernel needs CONFIG_NF_TABLES_INET"
        yield Finding("nftables", "missing", nftables.problem, costs, fix)
        return
    lost = [name for name in _FEATURES if name in nftables.refused]
    if len(lost) < len(_FEATURES):
        some = "" if not [name for name in lost if name not in _NOTES] else ", though not all of it"
        yield Finding("nftables", "ok", f"libnftables and the kernel take the rules that policies need{some}")
    for name in lost:
        feature = _FEATURES[name]
        state: State = "missing" if feature.essential else "note" if name in _NOTES else "warning"
        fix = f"a kernel with CONFIG_{feature.options.replace(', ', ', CONFIG_')}"
        yield Finding("nftables", state, f"no {name}: {nftables.refused[name]}", feature.costs, fix)


def _conntrack(table: Conntrack | None) -> Iterator[Finding]:
    if table is None:
        yield Finding(
            "conntrack",
            "note",
            "no connection is tracked here yet",
            "nothing",
            "the first policy with rules begins",
        )
        return
    share = f"{table.used:,} of {table.size:,} connections"
    more = f"sysctl -w net.netfilter.nf_conntrack_max={max(2 * table.size, 4 * SMALL_CONNTRACK)}"
    if table.used >= FULL * table.size:
        yield Finding("conntrack", "warning", share, "a full table drops every new connection", more)
    elif table.size < SMALL_CONNTRACK:
        costs = "a flood of connections fills it, and a full table drops every new one"
        yield Finding("conntrack", "warning", f"{share}: a small table", costs, more)
    else:
        yield Finding("conntrack", "ok", share)
    if table.size > LONG_CHAIN * table.buckets:
        found = f"{table.buckets:,} buckets for {table.size:,} connections"
        fix = f"echo {table.size} > /sys/module/nf_conntrack/parameters/hashsize"
        yield Finding("conntrack", "warning", found, "long chains: each packet searches one", fix)


def _forwarding(facts: Facts) -> Iterator[Finding]:
    on = [f"IPv{family}" for family, forwards in sorted(facts.forwarding.items()) if forwards]
    if on:
        yield Finding("forwarding", "ok", f"{' and '.join(on)} packets are forwarded")
    elif len(facts.interfaces) > 1:
        fix = "`forwarding: [ipv4, ipv6]` in the policy"
        yield Finding("forwarding", "note", "no packet is forwarded", "this machine is no gateway", fix)


def _storage(storage: StorageFacts | None) -> Iterator[Finding]:
    if storage is None:
        return
    if storage.problem:
        found, _, fix = storage.problem.partition(": ")
        costs = "changes are refused, and nobody is told who made which; packets are filtered as before"
        yield Finding("database", "warning", found, costs, fix)
        return
    size = "" if storage.size is None else f", {storage.size / 1e6:,.1f} MB"
    yield Finding("database", "ok", f"{storage.backend}{size}")
    if storage.lost:
        found = f"{storage.lost:,} rows of audit or history were given up since the daemon started"
        costs = "they are missing in what it shows of the past"
        yield Finding("database", "note", found, costs, "the daemon's log says when and why")


def _interface(name: str, facts: Facts) -> Iterator[Finding]:
    area = f"interface {name}"
    device = next((each for each in facts.devices if each.name == name), None)
    if device is None:
        costs = "nothing arrives there; it is guarded as soon as it appears"
        yield Finding(
            area, "warning", "there is none of that name", costs, "correct the policy, or plug it in"
        )
        return
    if device.master:
        found = f"a port of {device.master}"
        costs = f"what it receives belongs to {device.master}: rules of its own zone never see it"
        yield Finding(area, "warning", found, costs, f"guard {device.master} instead")
    if not device.up:
        yield Finding(area, "note", "the link is down", "no packet passes", f"ip link set {name} up")
    yield _mode(device, area)
    yield from _frames(device, area)
    yield from _queues(device, area, facts.cpus)


def _mode(device: Device, area: str) -> Finding:
    """How fast the lists are on one interface."""
    driver = f"driver {device.driver or device.kind or 'unknown'}"
    if device.type != ETHERNET:
        costs = "XDP reads Ethernet frames: the lists are nftables sets there, fewer and slower"
        return Finding(area, "note", "no Ethernet interface", costs, "`xdp: off` in the policy says so")
    if device.xdp_mode != "none":
        return _attached(device, area, driver)
    if device.xdp_features is None:
        costs = "the first start tries: native, else generic, which is slower"
        found = f"the kernel cannot tell the modes of {driver}"
        return Finding(area, "note", found, costs, "nothing to do; Linux 6.3 and newer tell")
    if _can_native(device):
        return Finding(area, "ok", f"native XDP; {driver}")
    return Finding(area, "warning", f"generic XDP only; {driver}", _SLOW, _NATIVE)


def _attached(device: Device, area: str, driver: str) -> Finding:
    found = f"an XDP program is attached, {device.xdp_mode}; {driver}"
    if device.xdp_mode != "generic":
        return Finding(area, "ok", found)
    if _can_native(device):
        fix = "`neurowall status` says why native was refused"
        return Finding(area, "warning", f"{found} has native XDP", _SLOW, fix)
    return Finding(area, "warning", found, _SLOW, _NATIVE)


def _can_native(device: Device) -> bool:
    return bool((device.xdp_features or 0) & XDP_BASIC)


def _frames(device: Device, area: str) -> Iterator[Finding]:
    """What of MTU and offloads stands in the way."""
    if device.mtu > LARGEST_MTU and _can_native(device):
        costs = "native XDP is refused, since a frame must fit one buffer: generic is used, which is slower"
        fix = f"ip link set {device.name} mtu {LARGEST_MTU}"
        buffers = " (the driver could do several buffers, which Neurowall does not use yet)"
        more = buffers if (device.xdp_features or 0) & XDP_MULTI_BUFFER else ""
        yield Finding(area, "warning", f"MTU {device.mtu}{more}", costs, fix)
    hiding = [name for name in _OFF_WHILE_ATTACHED if name in device.offloads]
    if hiding:
        found = f"{', '.join(hiding)} on"
        if device.xdp_mode != "none":
            costs = "XDP does not see VLAN tags that are stripped, nor packets that are merged"
            off = " ".join(f"{name} off" for name in hiding)
            yield Finding(area, "warning", found, costs, f"ethtool -K {device.name} {off}")
        else:
            costs = "a little CPU: they are off while XDP is attached, and given back by `neurowall down`"
            yield Finding(area, "note", found, costs, "nothing to do")


def _queues(device: Device, area: str, cpus: int) -> Iterator[Finding]:
    """Whether receiving is spread over the CPUs."""
    if device.queues is None or device.queues >= cpus or device.type != ETHERNET:
        return
    found = f"{device.queues} receive queue{'s' if device.queues > 1 else ''}, {cpus} CPUs"
    costs = f"a flood here is filtered by {device.queues} of them"
    fix = f"ethtool -L {device.name} combined {cpus}, if the device has so many (ethtool -l {device.name})"
    yield Finding(area, "note", found, costs, fix)
