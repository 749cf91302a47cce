# SPDX-License-Identifier: Apache-2.0
"""Events as answers of the API: JSON, and server-sent events."""

import json
from datetime import UTC, datetime
from typing import Any

from neurowall.model.events import EventKind, Told

Json = dict[str, Any]

_PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmpv6", 132: "sctp"}
_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")
_TCP = 6
_ABOUT_LIMITS = (EventKind.BAN, EventKind.LIMIT_OVER)


def event(told: Told) -> Json:
    """One event; members that do not apply to it are null."""
    each = told.event
    is_drop, has_address = each.kind is EventKind.DROP, bool(each.source)
    flags = [name for bit, name in enumerate(_FLAGS) if each.tcp_flags >> bit & 1]
    return {
        "time": datetime.fromtimestamp(told.time, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "kind": each.kind.label,
        "reason": each.reason.label,
        "verdict": "drop" if is_drop else None,
        "interface": told.interface,
        "ethertype": f"0x{each.ethertype:04x}" if is_drop else None,
        "protocol": _PROTOCOLS.get(each.protocol, str(each.protocol)) if has_address else None,
        "source": each.source or None,
        "source_port": each.source_port or None,
        "destination": each.destination or None,
        "destination_port": each.destination_port or None,
        "flags": flags if each.protocol == _TCP and has_address else None,
        "bytes": each.bytes,
        "list": told.name or None if is_drop else None,
        "limit": told.name if each.kind in _ABOUT_LIMITS else None,
        "number": None if is_drop else each.number,
        "extra": None if is_drop else each.extra,
    }


def server_sent(kind: str, data: Json) -> str:
    """A message of a text/event-stream: its type is the event's kind."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def told_message(told: Told) -> str:
    """An event as such a message."""
    return server_sent(told.event.kind.label, event(told))
