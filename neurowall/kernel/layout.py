# SPDX-License-Identifier: Apache-2.0
"""The ctypes mirror of bpf/neurowall.h. agreement.py proves that an object file agrees with it.

Fields are in the machine's byte order except those named in BIG_ENDIAN of their struct (the header's
__be types): these hold the bytes as on the wire, so on a little-endian machine set them with
int.from_bytes(packed, sys.byteorder) or socket.htons.
"""

import ctypes as c
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from neurowall.kernel import layout_flows, layout_limits
from neurowall.kernel.mirror import Mirror
from neurowall.model.events import EventKind
from neurowall.model.flows import FlowEvent, FlowState
from neurowall.model.reasons import Reason, Verdict


class Constant:
    """enum nw_constant. Not an enum here: its values repeat, and equal members would be one."""

    ABI = 9
    LINE_SLOTS = 7
    LINE6_SLOTS = 3
    FAILSAFE_PREFIXES = 4
    VLAN_DEPTH = 2
    EXTENSION_DEPTH = 8
    TIMED_DEPTH = 3
    LINE_OVERFLOW = 1
    LINE_SPILL = 2
    FILTER4_LOG = 3
    BITMAP_WORDS = 1 << 16
    FILTER6_HOSTS = 0
    FILTER6_PREFIXES = 1 << 15
    FILTER6_WORDS = 1 << 16
    FILTER6_SHIFT = 43
    LENGTHS6_ELEMENTS = 1 << 15
    LENGTHS6_SHIFT = 49
    NETS_WORDS = 1 << 22
    NET_CLASS = 0x7FFF
    NET_LONGER = 0x8000
    NETWORK_BITS = 64
    DRY_REASON_SHIFT = 2
    DRY_CLASS_SHIFT = 8
    DRY_CLASS_BITS = 15
    FOREIGN = 0x100
    SCALE_NONE = 255
    SCALE_MAX = 14
    LIMITS = 32
    LIMIT_LINES = 1 << 16
    LIMIT_LINES_SHIFT = 48
    LIMIT_WAYS = 8
    LIMIT_TIME_BITS = 40
    LIMIT_UNIT_SHIFT = 4
    LIMIT_FRACTION = 20
    LIMIT_SLACK = 1 << 30
    LIMIT_SITES = 1024
    LIMIT_PROBES = 4
    LIMIT_RETRIES = 16
    LIMIT_PORT_WORDS = 1 << 15
    LIMIT_TCP_SYN = 0
    LIMIT_TCP = 1
    LIMIT_UDP = 2
    LIMIT_ICMP = 3
    LIMIT_OTHER = 4
    LIMIT_FRAGMENT = 5
    LIMIT_KINDS = 8
    BANS = 1 << 16
    NEVER_BAN_BITS = 32


class Engine(IntEnum):
    """enum nw_engine."""

    CLASSIC = 0
    BUCKETS = 1


class Timed(IntEnum):
    """enum nw_timed: whether a class holds only until an expiry of the address."""

    NO = 0
    ALLOW = 1
    BLOCK = 2


class Config(Mirror):
    """What a program is loaded with: the whole of .rodata."""

    C_NAME = "nw_config"
    hash_multiplier: c.Array[c.c_uint64]
    hash_addend: c.Array[c.c_uint64]
    abi: int
    engine: int
    line_shift: int
    line_mask: int
    long_shift: int
    long_mask: int
    line6_shift: int
    line6_mask: int
    unparsed_verdict: int
    failsafe: int
    dry_run: int
    role: int
    networks: int
    destinations: int
    bans: int
    flows: int
    limits: int
    events: int
    spoofing: int
    bogons: int
    zone: int
    pad: int
    _fields_ = (
        ("hash_multiplier", c.c_uint64 * 2),
        ("hash_addend", c.c_uint64 * 2),
        ("abi", c.c_uint32),
        ("engine", c.c_uint32),
        ("line_shift", c.c_uint32),
        ("line_mask", c.c_uint32),
        ("long_shift", c.c_uint32),
        ("long_mask", c.c_uint32),
        ("line6_shift", c.c_uint32),
        ("line6_mask", c.c_uint32),
        ("unparsed_verdict", c.c_uint32),
        ("failsafe", c.c_uint32),
        ("dry_run", c.c_uint32),
        ("role", c.c_uint32),
        ("networks", c.c_uint32),
        ("destinations", c.c_uint32),
        ("bans", c.c_uint32),
        ("flows", c.c_uint32),
        ("limits", c.c_uint32),
        ("events", c.c_uint32),
        ("spoofing", c.c_uint32),
        ("bogons", c.c_uint32),
        ("zone", c.c_uint32),
        ("pad", c.c_uint32),
    )


class Line(Mirror):
    """One line of a bucket table. A slot is address << 32 | class << 16 | length; a host has length 0."""

    C_NAME = "nw_line"
    slots: c.Array[c.c_uint64]
    metadata: int
    _fields_ = (("slots", c.c_uint64 * Constant.LINE_SLOTS), ("metadata", c.c_uint64))


class Line6(Mirror):
    """One line of the table of IPv6 entries. A tag is length << 16 | class, addresses are in two halves."""

    C_NAME = "nw_line6"
    address: c.Array[c.Array[c.c_uint64]]
    tags: c.Array[c.c_uint32]
    metadata: int
    _fields_ = (
        ("address", c.c_uint64 * 2 * Constant.LINE6_SLOTS),
        ("tags", c.c_uint32 * Constant.LINE6_SLOTS),
        ("metadata", c.c_uint32),
    )


class Lengths6(Mirror):
    """Which lengths IPv6 prefixes have in the /32s of one hash; the longest is the lowest bit."""

    C_NAME = "nw_lengths6"
    upper: int
    lower: int
    _fields_ = (("upper", c.c_uint64), ("lower", c.c_uint64))


class Prefix4(Mirror):
    """Key of prefixes4: length in bits, address as on the wire."""

    C_NAME = "nw_prefix4"
    BIG_ENDIAN = frozenset({"address"})
    length: int
    address: int
    _fields_ = (("length", c.c_uint32), ("address", c.c_uint32))


class Prefix6(Mirror):
    """Key of prefixes6: length in bits, address as on the wire."""

    C_NAME = "nw_prefix6"
    length: int
    address: c.Array[c.c_uint8]
    _fields_ = (("length", c.c_uint32), ("address", c.c_uint8 * 16))


class Host6(Mirror):
    """Key of hosts6: the address as on the wire."""

    C_NAME = "nw_host6"
    address: c.Array[c.c_uint8]
    _fields_ = (("address", c.c_uint8 * 16),)


class Class(Mirror):
    """Value of classes: a model.reasons.Verdict, 1 once the class is defined, a Timed, the class after it."""

    C_NAME = "nw_class"
    verdict: int
    is_defined: int
    timed: int
    rest: int
    _fields_ = (
        ("verdict", c.c_uint32),
        ("is_defined", c.c_uint32),
        ("timed", c.c_uint32),
        ("rest", c.c_uint32),
    )


class Expiry(Mirror):
    """Value of the timed_* maps: ends in nanoseconds of CLOCK_MONOTONIC, 0 for none."""

    C_NAME = "nw_expiry"
    allow_until: int
    block_until: int
    _fields_ = (("allow_until", c.c_uint64), ("block_until", c.c_uint64))


class Counter(Mirror):
    """Value of the counters, one for each possible cpu; bytes of frames without FCS."""

    C_NAME = "nw_counter"
    packets: int
    bytes: int
    _fields_ = (("packets", c.c_uint64), ("bytes", c.c_uint64))


class Population(Mirror):
    """How many entries each map holds."""

    C_NAME = "nw_population"
    hosts4: int
    prefixes4: int
    hosts6: int
    prefixes6: int
    _fields_ = (
        ("hosts4", c.c_uint32),
        ("prefixes4", c.c_uint32),
        ("hosts6", c.c_uint32),
        ("prefixes6", c.c_uint32),
    )


class FailsafeKey(Mirror):
    """Key of failsafe: the gateway's own address (IPv4 in the last four bytes) and port on the wire."""

    C_NAME = "nw_failsafe_key"
    BIG_ENDIAN = frozenset({"port"})
    address: c.Array[c.c_uint8]
    ifindex: int
    port: int
    family: int
    pad: int
    _fields_ = (
        ("address", c.c_uint8 * 16),
        ("ifindex", c.c_uint32),
        ("port", c.c_uint16),
        ("family", c.c_uint8),
        ("pad", c.c_uint8),
    )


class Failsafe(Mirror):
    """Value of failsafe: who may come in (IPv4 in the last four bytes), how often, the current second."""

    C_NAME = "nw_failsafe"
    window_start: int
    window_packets: int
    packets_per_second: int
    prefixes: int
    source: c.Array[c.Array[c.c_uint8]]
    mask: c.Array[c.Array[c.c_uint8]]
    _fields_ = (
        ("window_start", c.c_uint64),
        ("window_packets", c.c_uint64),
        ("packets_per_second", c.c_uint32),
        ("prefixes", c.c_uint32),
        ("source", c.c_uint8 * 16 * Constant.FAILSAFE_PREFIXES),
        ("mask", c.c_uint8 * 16 * Constant.FAILSAFE_PREFIXES),
    )


class Network(Mirror):
    """Key of networks: length NETWORK_BITS and the prefix's own, IPv4 in the address's first four bytes.

    family: FOREIGN beside it if sources in the prefix are dropped, and the value is the reason.
    """

    C_NAME = "nw_network"
    length: int
    ifindex: int
    family: int
    address: c.Array[c.c_uint8]
    _fields_ = (
        ("length", c.c_uint32),
        ("ifindex", c.c_uint32),
        ("family", c.c_uint32),
        ("address", c.c_uint8 * 16),
    )


class Event(Mirror):
    """A record of the ring: addresses as on the wire, IPv4 in the last four bytes."""

    C_NAME = "nw_event"
    BIG_ENDIAN = frozenset({"source_port", "destination_port", "ethertype"})
    time: int
    extra: int
    source: c.Array[c.c_uint8]
    destination: c.Array[c.c_uint8]
    ifindex: int
    bytes: int
    number: int
    kind: int
    source_port: int
    destination_port: int
    ethertype: int
    reason: int
    verdict: int
    family: int
    protocol: int
    tcp_flags: int
    pad: c.Array[c.c_uint8]
    _fields_ = (
        ("time", c.c_uint64),
        ("extra", c.c_uint64),
        ("source", c.c_uint8 * 16),
        ("destination", c.c_uint8 * 16),
        ("ifindex", c.c_uint32),
        ("bytes", c.c_uint32),
        ("number", c.c_uint32),
        ("kind", c.c_uint32),
        ("source_port", c.c_uint16),
        ("destination_port", c.c_uint16),
        ("ethertype", c.c_uint16),
        ("reason", c.c_uint8),
        ("verdict", c.c_uint8),
        ("family", c.c_uint8),
        ("protocol", c.c_uint8),
        ("tcp_flags", c.c_uint8),
        ("pad", c.c_uint8 * 5),
    )


class EventControl(Mirror):
    """Value of event_control: the window under way, 0 for no events; how many of each kind it may have."""

    C_NAME = "nw_event_control"
    window: int
    per_window: int
    _fields_ = (("window", c.c_uint64), ("per_window", c.c_uint64))


class EventBudget(Mirror):
    """Value of event_budgets, one for each possible cpu."""

    C_NAME = "nw_event_budget"
    window: int
    left: int
    suppressed: int
    sent: int
    lost: int
    _fields_ = (
        ("window", c.c_uint64),
        ("left", c.c_uint64),
        ("suppressed", c.c_uint64),
        ("sent", c.c_uint64),
        ("lost", c.c_uint64),
    )


class Origins(Mirror):
    """Which sources are worth a look into the foreign networks: IPv4 by first byte, IPv6 by hash."""

    C_NAME = "nw_origins"
    first4: c.Array[c.c_uint64]
    hash6: c.Array[c.c_uint64]
    _fields_ = (("first4", c.c_uint64 * 4), ("hash6", c.c_uint64 * 4))


STRUCTS: tuple[type[Mirror], ...] = (
    Config, Line, Line6, Lengths6, Prefix4, Prefix6, Host6, Class, Expiry, Counter, Population, FailsafeKey,
    Failsafe, Network, Event, EventControl, EventBudget, Origins,
    *layout_limits.STRUCTS, *layout_flows.STRUCTS,
)  # fmt: skip

ENUMS: Mapping[str, Mapping[str, int]] = {
    "nw_constant": {f"NW_{k}": v for k, v in vars(Constant).items() if k.isupper()},
    "nw_verdict": {f"NW_VERDICT_{each.name}": each.value for each in Verdict}
    | {"NW_VERDICT_MAX": len(Verdict)},
    "nw_reason": {f"NW_REASON_{each.name}": each.value for each in Reason} | {"NW_REASON_MAX": len(Reason)},
    "nw_timed": {f"NW_TIMED_{each.name}": each.value for each in Timed} | {"NW_TIMED_MAX": len(Timed)},
    "nw_event_kind": {f"NW_EVENT_{each.name}": each.value for each in EventKind}
    | {"NW_EVENT_MAX": len(EventKind)},
    "nw_flow_mode": {f"NW_FLOWS_{each.name}": each.value for each in layout_flows.FlowMode}
    | {"NW_FLOWS_MAX": len(layout_flows.FlowMode)},
    "nw_flow_state": {f"NW_FLOW_{each.name}": each.value for each in FlowState}
    | {"NW_FLOW_STATE_MAX": len(FlowState)},
    "nw_flow_event": {f"NW_FLOW_{each.name}": each.value for each in FlowEvent}
    | {"NW_FLOW_EVENT_MAX": len(FlowEvent)},
    "nw_limit_key": {f"NW_LIMIT_{each.name}": each.value for each in layout_limits.LimitKey},
    "nw_limit_action": {f"NW_LIMIT_{each.name}": each.value for each in layout_limits.LimitAction},
    "nw_engine": {f"NW_ENGINE_{each.name}": each.value for each in Engine},
}


@dataclass(frozen=True)
class MapLayout:
    """What a map is: enum bpf_map_type, key and value as C spells them, BPF_F_* flags."""

    kind: int
    key: str
    value: str
    flags: int = 0


_HASH, _ARRAY, _PERCPU_ARRAY, _LRU_HASH, _LPM_TRIE, _RINGBUF = 1, 2, 6, 9, 11, 27
_NO_PREALLOC, _MMAPABLE = 1 << 0, 1 << 10
MAPS: Mapping[str, MapLayout] = {
    "segments": MapLayout(_PERCPU_ARRAY, "__u32", "struct segment"),
    "lines": MapLayout(_ARRAY, "__u32", "struct nw_line", _MMAPABLE),
    "filter4": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "bitmap": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "hosts4": MapLayout(_HASH, "__be32", "__u32"),
    "filter6": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "lines6": MapLayout(_ARRAY, "__u32", "struct nw_line6", _MMAPABLE),
    "lengths6": MapLayout(_ARRAY, "__u32", "struct nw_lengths6", _MMAPABLE),
    "spilled6": MapLayout(_HASH, "struct nw_prefix6", "__u32"),
    "nets4": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "long4": MapLayout(_ARRAY, "__u32", "struct nw_line", _MMAPABLE),
    "registry4": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "prefixes4": MapLayout(_LPM_TRIE, "struct nw_prefix4", "__u32", _NO_PREALLOC),
    "hosts6": MapLayout(_HASH, "struct nw_host6", "__u32"),
    "prefixes6": MapLayout(_LPM_TRIE, "struct nw_prefix6", "__u32", _NO_PREALLOC),
    "population": MapLayout(_ARRAY, "__u32", "struct nw_population"),
    "classes": MapLayout(_ARRAY, "__u32", "struct nw_class"),
    "last_class": MapLayout(_PERCPU_ARRAY, "__u32", "__u64"),
    "timed_hosts4": MapLayout(_HASH, "__be32", "struct nw_expiry", _NO_PREALLOC),
    "timed_prefixes4": MapLayout(_LPM_TRIE, "struct nw_prefix4", "struct nw_expiry", _NO_PREALLOC),
    "timed_hosts6": MapLayout(_HASH, "struct nw_host6", "struct nw_expiry", _NO_PREALLOC),
    "timed_prefixes6": MapLayout(_LPM_TRIE, "struct nw_prefix6", "struct nw_expiry", _NO_PREALLOC),
    "class_counters": MapLayout(_PERCPU_ARRAY, "__u32", "struct nw_counter"),
    "reason_counters": MapLayout(_PERCPU_ARRAY, "enum nw_reason", "struct nw_counter"),
    "failsafe": MapLayout(_HASH, "struct nw_failsafe_key", "struct nw_failsafe"),
    "events": MapLayout(_RINGBUF, "", ""),
    "event_control": MapLayout(_ARRAY, "__u32", "struct nw_event_control"),
    "event_budgets": MapLayout(_PERCPU_ARRAY, "__u32", "struct nw_event_budget"),
    "event_draft": MapLayout(_PERCPU_ARRAY, "__u32", "struct nw_event"),
    "limits": MapLayout(_ARRAY, "__u32", "struct nw_limit", _MMAPABLE),
    "limit_sites": MapLayout(_ARRAY, "__u32", "struct nw_limit_site", _MMAPABLE),
    "limit_ports": MapLayout(_ARRAY, "__u32", "__u64", _MMAPABLE),
    "limit_lines": MapLayout(_ARRAY, "__u32", "struct nw_limit_line", _MMAPABLE),
    "limit_counters": MapLayout(_PERCPU_ARRAY, "__u32", "struct nw_limit_counter"),
    "limit_work": MapLayout(_PERCPU_ARRAY, "__u32", "struct limit_work"),
    "bans": MapLayout(_HASH, "struct nw_ban_key", "struct nw_ban", _NO_PREALLOC),
    "ban_state": MapLayout(_ARRAY, "__u32", "struct nw_ban_state", _MMAPABLE),
    "never_ban": MapLayout(_LPM_TRIE, "struct nw_never_ban", "__u32", _NO_PREALLOC),
    "networks": MapLayout(_LPM_TRIE, "struct nw_network", "__u32", _NO_PREALLOC),
    "origins": MapLayout(_ARRAY, "__u32", "struct nw_origins"),
    "flows": MapLayout(_LRU_HASH, "struct nw_flow_key", "struct nw_flow"),
    "half_flows": MapLayout(_LRU_HASH, "struct nw_flow_key", "struct nw_flow"),
    "flow_control": MapLayout(_ARRAY, "__u32", "struct nw_flow_control"),
    "flow_guard": MapLayout(_PERCPU_ARRAY, "__u32", "struct nw_flow_guard"),
    "flow_events": MapLayout(_PERCPU_ARRAY, "enum nw_flow_event", "__u64"),
    "flow_scratches": MapLayout(_PERCPU_ARRAY, "__u32", "struct flow_scratch"),
}
