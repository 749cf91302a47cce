# SPDX-License-Identifier: Apache-2.0
"""What each part and field of a policy means: the words of the JSON Schema and of POLICY.md.

Names are those of the models and, for fields, those that are written in policy.yaml.
"""

_LOG = "`true`, or settings: write matches to the kernel log."
_END = "A zone, several, or `any` (every zone that has interfaces)."

PARTS = {
    "Policy": "Everything that Neurowall enforces. Only `interfaces` is required.",
    "Interface": "An interface that Neurowall guards.",
    "Failsafe": (
        "The operator's own way in. It passes before every list and every rule, "
        "and never lets anything through the gateway."
    ),
    "ListSpec": "A list of addresses, enforced by XDP in the driver. Allow beats block.",
    "Limit": "How much of what may come in a time, enforced by XDP in the driver.",
    "Capacity": "How many entries kernel maps are first made for.",
    "Bans": "What happens to an address that is blocked with a TTL again, and how many limits may ban.",
    "Fallback": "Interfaces where no XDP program attaches: nftables sets hold the lists there.",
    "Events": "What the kernel tells of while it happens: `neurowall events --follow`.",
    "Flows": "Stateful inspection in XDP: what belongs to connections that the protected side has a part in.",
    "FlowTimeouts": "How long a flow is known without a packet, by what it is in.",
    "Zone": "A set of interfaces that are treated alike. `external` and `internal` are built in.",
    "AddressSet": "Named addresses for rules and NAT, used there as `@name`.",
    "Rule": "A stateful rule for new connections. The first that matches decides.",
    "Rate": "The rule matches at most this many packets over time; beyond that the next rule is asked.",
    "ConnectionLimit": (
        "The rule matches while there are at most this many connections; beyond that the next rule is asked."
    ),
    "Log": "Where and how often matches are logged.",
    "Defaults": "What becomes of new connections that no rule matches.",
    "Nat": "Address translation.",
    "OneToOne": "Static NAT both ways between outside and inside addresses. Rules say who may use it.",
    "PortForward": "Destination NAT of ports of the gateway to a host inside. Such connections are accepted.",
    "SourceNat": "Source NAT to a fixed address.",
    "Masquerade": "Source NAT to the address of the interface that a connection leaves by.",
}

FIELDS = {
    "Policy": {
        "interfaces": "The interfaces to guard; at least one.",
        "failsafe": "The operator's own ways in.",
        "lists": "Block and allow lists, in the order in which they name a hit; at most 60.",
        "limits": "How much of what may come in a time; at most 16. All that concern a packet are asked.",
        "engine": "How lists are kept in the kernel: `buckets`, or `classic` (hash and LPM trie only).",
        "capacity": "How many entries kernel maps are first made for.",
        "bans": "What happens to an address that is blocked with a TTL again.",
        "fallback": "Limits where no XDP program attaches.",
        "events": "How much the kernel tells of while it happens.",
        "flows": "What XDP knows of connections on external interfaces.",
        "zones": "Zones besides the built-in `external` and `internal`.",
        "sets": "Named addresses for rules and NAT.",
        "rules": "Stateful rules, in order. Absent: nftables filters nothing; `[]`: only `defaults` decide.",
        "defaults": "What becomes of new connections that no rule matches.",
        "nat": "Address translation.",
        "forwarding": "Families that are forwarded between the interfaces; absent: as the kernel is set.",
        "flowtable": "Let established connections bypass the network stack, where the kernel can.",
        "signatures": "Reserved for a coming version: leave it out.",
        "feeds": "Reserved for a coming version: leave it out.",
        "ha": "Reserved for a coming version: leave it out.",
    },
    "Interface": {
        "name": "The kernel's name of the interface. It need not exist yet.",
        "zone": "The zone it belongs to.",
        "xdp": (
            "Where the lists are enforced: `auto` is the fastest mode that works, and nftables where none "
            "does; `off` is always nftables."
        ),
        "unparsed": "Verdict of EtherTypes that are not parsed (PPPoE, MPLS); external: `drop`, else `pass`.",
        "networks": (
            "The addresses that live behind it. A packet that arrives there with another source is dropped "
            "as spoofed. Absent: sources are not checked against networks."
        ),
        "spoofing": (
            "Verdict of sources that cannot come from there: martians, the gateway's own addresses, and what "
            "lies in `networks` of other zones; external: `drop`, else `pass`."
        ),
        "bogons": "Verdict of sources in special-purpose space (RFC 6890), such as private addresses.",
    },
    "Failsafe": {
        "interface": "Where the operator comes from.",
        "source": "The operator's address or prefix.",
        "port": "TCP port of the gateway.",
        "address": "The gateway's own address, of the same family.",
        "packets_per_second": "What may pass this way; more takes its chances with lists and rules.",
        "allow_external": "Must be `true` for an interface of an external zone.",
    },
    "ListSpec": {
        "name": "1 to 40 of a-z, 0-9 and '-'.",
        "verdict": "`block` or `allow`.",
        "monitor": "Count what would match, and decide nothing.",
        "file": "A file of entries, one a line; beside the policy file unless absolute. At most 64 MiB.",
        "entries": "Addresses and prefixes.",
    },
    "Limit": {
        "name": "Unique among limits. Its counters are called so.",
        "zones": "Whose interfaces' incoming packets are asked about; absent: those of every external zone.",
        "key": (
            "What has a budget of its own: each `source` address, each `source-prefix`, each "
            "`destination-port` (of TCP and of UDP), or `global`: all together."
        ),
        "prefix4": "With `source-prefix`: its length for IPv4; absent: 24.",
        "prefix6": "With `source-prefix`: its length for IPv6; absent: 64.",
        "match": (
            "What is counted: `all`; `tcp-syn` (SYN without ACK); `udp` and `icmp`, their fragments too; "
            "`fragment`, first and later ones."
        ),
        "ports": "Destination ports; with `match: all` of TCP and UDP. Later fragments have none.",
        "packets_per_second": "The rate, up to 10,000,000; or bytes_per_second.",
        "bytes_per_second": "The rate in bytes of IP packets, up to 12,500,000,000 (100 Gbit/s).",
        "burst": (
            "Packets or bytes that may come at once; absent: one second's worth, at least one packet. At "
            "most 300 seconds' worth."
        ),
        "new_only": "Packets of known flows are not asked about. Needs `flows`.",
        "action": (
            "What becomes of what is over: `drop`; `monitor`: it is only counted; `ban`: it is dropped, and "
            "its source banned for ban_ttl if the packet is of an established TCP connection. That needs "
            "`flows`, a source as the key and `match: all`: other packets do not prove who sent them."
        ),
        "ban_ttl": "With `ban`, how long: such as `90s`, `10m`, `12h`.",
    },
    "Capacity": {
        "hosts4": "IPv4 addresses.",
        "prefixes4": "IPv4 prefixes.",
        "hosts6": "IPv6 addresses.",
        "prefixes6": "IPv6 prefixes.",
        "classes": "Different combinations of lists that hold the same entry.",
        "grow": "Make larger maps when a list needs them; `false` refuses the list.",
    },
    "Bans": {
        "repeat_factor": "The next ban lasts at least this many times as long as the last one.",
        "max_ttl": "As long as that makes no more than this: such as `90s`, `15m`, `12h`, `7d`.",
        "memory": "How long after its end a ban still counts as the last one.",
        "per_second": "Bans by limits, so many a second on each CPU; beyond that, packets are dropped.",
    },
    "Fallback": {"max_entries": "Entries of all lists that nftables sets take; more is refused."},
    "Events": {
        "per_second": (
            "Events of each reason of a drop, and of each other kind, that each CPU tells of in a second; "
            "more is counted. `0`: none."
        )
    },
    "Flows": {
        "mode": (
            "`strict` drops TCP that is out of state; `loose` only tells packets of known flows from others; "
            "`off`."
        ),
        "adopt": "How long after switching on TCP that is out of state passes all the same.",
        "max": "TCP connections that are known; half as many other flows and connections being opened.",
        "timeouts": "How long a flow is known without a packet.",
        "new_per_second": (
            "Flows that each CPU takes in a second. More are not known, and then nothing is out of state."
        ),
    },
    "FlowTimeouts": {
        "tcp_syn_sent": "Our SYN is not answered.",
        "tcp_syn_received": "Our SYN-ACK is not answered.",
        "tcp_established": "The connection is open.",
        "tcp_half_closed": "One end has said that it sends no more.",
        "tcp_closed": "Both have.",
        "tcp_reset": "One end has reset it.",
        "udp": "Our packets are not answered.",
        "udp_answered": "They are.",
        "icmp": "An echo request of ours.",
    },
    "Zone": {
        "name": "1 to 40 of a-z, 0-9 and '-'.",
        "kind": "`external`: where the internet is; `internal`: what is protected.",
    },
    "AddressSet": {
        "name": "1 to 40 of a-z, 0-9 and '-'.",
        "entries": "Addresses and prefixes of either family.",
    },
    "Rule": {
        "name": "Unique among rules. Its counter is called so.",
        "from": "Zones, `gateway` (the gateway itself) or `any` (every zone that has interfaces).",
        "to": "The same, for the other end.",
        "source": "Addresses, prefixes and `@sets`; absent: all.",
        "destination": "Addresses, prefixes and `@sets`, as they are after destination NAT; absent: all.",
        "protocol": (
            "`tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, `gre`, `esp`, `ah`, `ipip`, `ipv6` (6in4), or several; "
            "absent: all."
        ),
        "ports": "Destination ports: a number, or a range such as `8000-8010`.",
        "source_ports": "Source ports, in the same way.",
        "icmp_types": "Names that nftables knows, such as `echo-request`, or numbers in quotes.",
        "state": (
            "Conntrack states in which the rule is asked: `new`, `established`, `related`, `invalid`, "
            "`untracked`. By default new connections only: what belongs to a known one is accepted and "
            "invalid packets are dropped, unless a rule for them decides."
        ),
        "connection_limit": "The rule matches while there are no more connections than this.",
        "rate": "The rule matches no more packets than this.",
        "log": _LOG,
        "action": "`accept`; `drop`; `reject`: TCP is answered with a reset, the rest with port unreachable.",
        "monitor": "Count and log what matches, and decide nothing.",
        "enabled": "`false`: as if the rule were not there.",
    },
    "Rate": {
        "at_most": "Packets over `second`, `minute`, `hour` or `day`: such as `10/second`.",
        "burst": "How many may come at once before the rate counts.",
        "per": "`rule`: of all together; `source`: of each source address.",
    },
    "ConnectionLimit": {
        "at_most": "Connections at the same time.",
        "per": "`source`: of each source address; `rule`: of all together.",
    },
    "Log": {
        "prefix": "What each line begins with; by default the rule's name. Up to 60 ASCII characters.",
        "rate": "Lines over time, at most.",
        "burst": "How many may come at once before the rate counts.",
        "group": "An nfnetlink_log group, 0 to 65535, instead of the kernel log.",
    },
    "Defaults": {
        "input": "To the gateway.",
        "forward": "From one interface to another.",
        "output": "From the gateway.",
        "log": "Log what is not accepted.",
    },
    "Nat": {
        "one_to_one": "Static NAT both ways.",
        "port_forwards": "Destination NAT. They come before `one_to_one`.",
        "source": "Source NAT to fixed addresses. They come after `one_to_one`.",
        "masquerade": "Source NAT to the address of the interface. It comes last.",
    },
    "OneToOne": {
        "name": "Unique among them.",
        "zone": "The zone where the outside addresses are seen.",
        "outside": "An address, or a prefix.",
        "inside": "As many addresses of the same family.",
    },
    "PortForward": {
        "name": "Unique among port forwards. Its counter is called so.",
        "from": "Zones whose clients may use it; `any` is possible, `gateway` is not.",
        "address": "The gateway's address; absent: any of the interface where a packet arrives.",
        "protocol": "`tcp`, `udp`, `sctp`, or several.",
        "ports": "A port, or a range such as `8000-8010`.",
        "to": "The host inside.",
        "to_ports": "Its ports, as many as `ports`; absent: the same.",
        "source": "Clients that may use it: addresses, prefixes and `@sets`; absent: all.",
        "hairpin": (
            "Also for clients in internal zones that use the outside address. To those in the target's own "
            "zone the gateway then is the client."
        ),
        "log": _LOG,
    },
    "SourceNat": {
        "from": _END,
        "to": _END,
        "source": "Addresses, prefixes and `@sets`; absent: all.",
        "address": "The new source.",
    },
    "Masquerade": {
        "from": _END + " Not an external one.",
        "to": _END,
        "source": "Addresses, prefixes and `@sets`; absent: all.",
        "families": "`ipv4`, `ipv6`, or both.",
    },
}
