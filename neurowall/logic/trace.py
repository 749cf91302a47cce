# SPDX-License-Identifier: Apache-2.0
"""Where on a packet's way through the stack a place is: read off the functions that led there."""

from collections.abc import Mapping
from dataclasses import dataclass

from neurowall.model.trace import Kind, Place, Tally

TOLD = "XDP, Neurowall"
"""Drops that the daemon tells of."""

VETH = "XDP, veth"
"""Where veth frees what a native program drops; other drivers never make a packet of it."""

# The hook that asked nftables (or iptables), by the function that asked.
_HOOKS: Mapping[str, str] = {
    "ip_rcv": "prerouting",
    "ip_list_rcv": "prerouting",
    "ip_sublist_rcv": "prerouting",
    "ipv6_rcv": "prerouting",
    "ipv6_list_rcv": "prerouting",
    "ip6_sublist_rcv": "prerouting",
    "ip_local_deliver": "input",
    "ip6_input": "input",
    "ip6_input_finish": "input",
    "ip_forward": "forward",
    "ip6_forward": "forward",
    "__ip_local_out": "output",
    "__ip6_local_out": "output",
    "ip_local_out": "output",
    "ip_output": "postrouting",
    "ip_mc_output": "postrouting",
    "ip6_output": "postrouting",
    "__netif_receive_skb_core": "ingress",
    "__netif_receive_skb_list_core": "ingress",
    "__dev_queue_xmit": "egress",
}
# Beginnings of functions, the first that fits; looked for from where the packet died outwards.
_STAGES: tuple[tuple[str, str], ...] = (
    ("veth_xdp_rcv", VETH),
    ("do_xdp_generic", "XDP, generic"),
    ("netif_receive_generic_xdp", "XDP, generic"),
    ("bpf_prog_run_generic_xdp", "XDP, generic"),
    ("sch_handle_ingress", "tc ingress"),
    ("tc_run", "tc"),
    ("sch_handle_egress", "tc egress"),
    ("neigh_", "neighbour"),
    ("__neigh_", "neighbour"),
    ("arp_", "neighbour"),
    ("ndisc_", "neighbour"),
    ("ip_route_", "routing"),
    ("ip6_route_", "routing"),
    ("ip6_pkt_", "routing"),
    ("ip_error", "routing"),
    ("ip_rcv_finish", "routing"),
    ("ip6_rcv_finish", "routing"),
    ("ip_forward", "forward"),
    ("ip6_forward", "forward"),
    ("ip_defrag", "reassembly"),
    ("ip_frag", "reassembly"),
    ("ipv6_frag", "reassembly"),
    ("inet_frag", "reassembly"),
    ("nf_", "netfilter"),
    ("icmp", "ICMP"),
    ("__icmp", "ICMP"),
    ("udp", "UDP"),
    ("__udp", "UDP"),
    ("tcp", "TCP"),
    ("__tcp", "TCP"),
    ("sctp", "SCTP"),
    ("raw_", "raw socket"),
    ("rawv6_", "raw socket"),
    ("sock_", "socket"),
    ("__sock_", "socket"),
    ("packet_rcv", "packet socket"),
    ("tpacket_rcv", "packet socket"),
    ("ip_rcv", "IP receive"),
    ("ip_list_rcv", "IP receive"),
    ("ip_sublist_rcv", "IP receive"),
    ("ip6_rcv_core", "IP receive"),
    ("ipv6_rcv", "IP receive"),
    ("ip_local_deliver", "local delivery"),
    ("ip_protocol_deliver", "local delivery"),
    ("ip6_input", "local delivery"),
    ("ip6_protocol_deliver", "local delivery"),
    ("ip_finish_output", "IP output"),
    ("ip_output", "IP output"),
    ("ip6_finish_output", "IP output"),
    ("ip6_output", "IP output"),
    ("ip_local_out", "IP output"),
    ("__ip_local_out", "IP output"),
    ("qdisc", "queue"),
    ("__qdisc", "queue"),
    ("__dev_xmit_skb", "queue"),
    ("dev_hard_start_xmit", "device"),
    ("dev_queue_xmit", "queue"),
    ("__dev_queue_xmit", "queue"),
    ("__netif_receive_skb", "receive"),
    ("netif_receive_skb", "receive"),
    ("enqueue_to_backlog", "backlog"),
)
# By reason, by reason and stage, or by function.
_MEANINGS: Mapping[str, str] = {
    "ip-inhdr:forward": "its TTL or hop limit was used up, or its header is wrong",
    "ip_error": "no route there, or a route that refuses",
    "ip6_pkt_discard": "no route there, or a route that refuses",
    "ip6_pkt_prohibit": "no route there, or a route that refuses",
    f"not-specified:{VETH}": "dropped by the XDP program of this interface",
    "no-socket": "no program listens there",
    "netfilter-drop": "a rule or a policy of nftables or iptables said so",
    "udp-csum": "wrong checksum",
    "tcp-csum": "wrong checksum",
    "ip-csum": "wrong checksum",
    "ip-rpfilter": "rp_filter: its source is not routed back that way",
    "neigh-failed": "nobody answered ARP or neighbour discovery",
    "ip-outnoroutes": "no route",
    "ip-innoroutes": "no route back, or to where it goes",
}


@dataclass(frozen=True)
class Row:
    """What is shown of places that look the same to people. function: where it died, empty if it did not."""

    kind: Kind
    device: str
    stage: str
    reason: str
    function: str
    to_it: bool
    known: bool
    meaning: str = ""


def rows(places: Mapping[Place, Tally]) -> dict[Row, Tally]:
    """Places put together, those where packets died first, each kind by packets."""
    found: dict[Row, Tally] = {}
    for place, tally in places.items():
        row = row_of(place)
        found[row] = found.get(row, Tally(0, 0)) + tally
    order = (Kind.EXCEPTION, Kind.DIED, Kind.RECEIVED, Kind.DELIVERED, Kind.SENT, Kind.CONSUMED)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0].kind), -item[1].packets)))


def lost(seen: Mapping[Row, Tally]) -> int:
    """Packets that died, each once: veth shows those again that the daemon told of."""
    told = {row.device for row in seen if row.stage == TOLD}
    return sum(
        tally.packets
        for row, tally in seen.items()
        if row.kind is Kind.DIED and not (row.stage == VETH and row.device in told)
    )


def row_of(place: Place) -> Row:
    """What people are told of a place."""
    stage = stage_of(place)
    function = place.path[0] if place.path else ""
    known = (place.reason, f"{place.reason}:{stage}", function)
    meaning = next((_MEANINGS[each] for each in known if each in _MEANINGS), "")
    return Row(place.kind, place.device, stage, place.reason, function, place.to_it, place.known, meaning)


def stage_of(place: Place) -> str:
    """The part of the stack, in words."""
    if place.kind is not Kind.DIED:
        return "XDP" if place.kind is Kind.EXCEPTION else ""
    hook = next((name for name in place.path if name in _HOOKS or name.startswith("nf_hook")), "")
    if hook.startswith("nf_hook"):  # netfilter was asked, and whoever did has a name
        asked = next((_HOOKS[name] for name in place.path if name in _HOOKS), "")
        return f"netfilter {asked}".rstrip()
    for name in place.path:
        for beginning, stage in _STAGES:
            if name.startswith(beginning):
                return stage
    return "elsewhere"
