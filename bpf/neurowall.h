// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the kernel programs and userspace share: limits, enums and structs. No code.
 *
 * neurowall/kernel/layout.py mirrors this file. tests/unit/kernel/test_layout.py and the start of
 * the daemon compare the two through the object's BTF, so neither can drift. Every pad byte has a
 * name: an unset one in a map key loads and then never matches (the build runs -Wpadded -Werror).
 *
 * Byte order: __beNN fields are as on the wire; everything else is the host's.
 */
#ifndef NEUROWALL_H
#define NEUROWALL_H

#include <linux/types.h>

enum nw_constant {
	/* Bump when a shared struct, a map or the meaning of a slot changes: pins of another
	 * ABI are not adopted, they are replaced beside the running program.
	 */
	NW_ABI = 9,
	NW_LINE_SLOTS = 7, /* and one metadata word make a 64-byte cache line */
	NW_FAILSAFE_PREFIXES = 4,
	NW_VLAN_DEPTH = 2, /* 802.1ad outside 802.1Q; deeper is dropped */
	NW_EXTENSION_DEPTH = 8, /* IPv6 extension headers walked; longer chains are dropped */
	NW_TIMED_DEPTH =
		3, /* classes in a chain of rests: timed allow, timed block, what is left */
	/* Flags in the metadata word of a line. */
	NW_LINE_OVERFLOW = 1, /* hosts of this line may be in their second choice */
	NW_LINE_SPILL = 2, /* ... and in the map hosts4, prefixes4 or spilled6 */
	/* Bits of filter4 for each line of the host table, as a power of two. */
	NW_FILTER4_LOG = 3,
	/* Words of the bitmap: a bit for each IPv4 /22. */
	NW_BITMAP_WORDS = 1 << 16,
	NW_LINE6_SLOTS = 3,
	/* First word of each plane of filter6; a plane has 2^21 bits, chosen by the hash of an entry. */
	NW_FILTER6_HOSTS = 0,
	NW_FILTER6_PREFIXES = 1 << 15,
	NW_FILTER6_WORDS = 1 << 16,
	NW_FILTER6_SHIFT = 43, /* 64 - log2(bits of a plane) */
	/* The table of lengths6: 2^15 of them, chosen by a hash of the /32. */
	NW_LENGTHS6_ELEMENTS = 1 << 15,
	NW_LENGTHS6_SHIFT = 49,
	/* The table of /24s: class of the longest prefix up to /24, four of them in a word. */
	NW_NETS_WORDS = 1 << 22,
	NW_NET_CLASS = 0x7FFF,
	NW_NET_LONGER = 0x8000, /* prefixes longer than /24 are in this net, see long4 */
	NW_NETWORK_BITS = 64, /* of struct nw_network, before the address */
	/* What a dry run answers: action, reason, class, and 1 + slot of the limit that the packet is over. */
	NW_DRY_REASON_SHIFT = 2,
	NW_DRY_CLASS_SHIFT = 8,
	NW_DRY_CLASS_BITS = 15,
	NW_FOREIGN = 0x100, /* beside its family: what does not live behind the interface */
	NW_SCALE_NONE = 255, /* no window scale was offered, RFC 7323 */
	NW_SCALE_MAX = 14, /* and what is taken for one that was not seen */
	/* Limits, see bpf/limits.h. */
	NW_LIMITS = 32, /* a policy has up to 16; while it changes old and new ones are asked */
	NW_LIMIT_LINES = 1 << 16,
	NW_LIMIT_LINES_SHIFT = 48, /* 64 - log2(lines) */
	NW_LIMIT_WAYS = 8,
	NW_LIMIT_TIME_BITS = 40, /* of a slot; the tag is above them */
	NW_LIMIT_UNIT_SHIFT = 4, /* a time is in units of 16 ns */
	NW_LIMIT_FRACTION = 20, /* bits of an interval below one unit */
	/* How far another CPU's clock reading may be behind, in units: it may be held up after it. 17 s. */
	NW_LIMIT_SLACK = 1 << 30,
	NW_LIMIT_SITES = 1024, /* interfaces, found by their number, or shortly behind it */
	NW_LIMIT_PROBES = 4,
	NW_LIMIT_RETRIES = 16,
	NW_LIMIT_PORT_WORDS = 1 << 15, /* two ports in a word */
	/* What kind of packet a limit may be about; a fragment is of two kinds. */
	NW_LIMIT_TCP_SYN = 0, /* SYN without ACK */
	NW_LIMIT_TCP = 1,
	NW_LIMIT_UDP = 2,
	NW_LIMIT_ICMP = 3, /* of the packet's own family */
	NW_LIMIT_OTHER = 4,
	NW_LIMIT_FRAGMENT = 5, /* first or later, beside one of those above */
	NW_LIMIT_KINDS = 8, /* with room */
	NW_BANS = 1 << 16,
	NW_NEVER_BAN_BITS = 32, /* of struct nw_never_ban, before the address */
};

/* Of what each value has a budget of its own. */
enum nw_limit_key {
	NW_LIMIT_BY_SOURCE = 0, /* the source address under a mask */
	NW_LIMIT_BY_PORT, /* protocol and destination port */
	NW_LIMIT_IN_ALL,
} __attribute__((packed)); /* one byte */

enum nw_limit_action {
	NW_LIMIT_DROP = 0,
	NW_LIMIT_MONITOR, /* count it and let it pass */
	NW_LIMIT_BAN, /* drop, and ban the source if the packet is of a connection that it answers */
} __attribute__((packed));

enum nw_verdict {
	NW_VERDICT_PASS = 0,
	NW_VERDICT_DROP = 1,
	NW_VERDICT_NONE = 2, /* of a class: it is counted and decides nothing */
	NW_VERDICT_MAX,
};

/* Whether a class holds only until an expiry of the address, see struct nw_expiry. */
enum nw_timed {
	NW_TIMED_NO = 0,
	NW_TIMED_ALLOW = 1, /* until allow_until */
	NW_TIMED_BLOCK = 2, /* until block_until */
	NW_TIMED_MAX,
};

/* Why a packet got its verdict. Exactly one is counted for each packet. */
enum nw_reason {
	NW_REASON_DEFAULT = 0, /* pass: nothing matched, nftables decides the rest */
	NW_REASON_ALLOW_LIST, /* pass: the source is in an allow list */
	NW_REASON_BLOCK_LIST, /* drop: the source is in a block list */
	NW_REASON_FAILSAFE, /* pass: the operator's own way in */
	NW_REASON_ARP, /* pass: essential */
	NW_REASON_NEIGHBOUR_DISCOVERY, /* pass: essential, RFC 4861, hop limit 255 */
	NW_REASON_MULTICAST_LISTENER, /* pass: essential, MLD of link-local origin, RFC 3810 */
	NW_REASON_DHCP, /* pass: essential, cannot be routed: broadcast or link-local */
	NW_REASON_LACP, /* pass: essential, IEEE 802.3 slow protocols */
	NW_REASON_EAPOL, /* pass: essential, IEEE 802.1X */
	NW_REASON_ICMP_ERROR, /* pass: the stack checks the embedded tuple */
	NW_REASON_FRAGMENT, /* pass: a later fragment, nftables sees it reassembled */
	NW_REASON_TUNNEL, /* pass: GRE, IP-in-IP, 6in4, ...; only the outer source was checked */
	NW_REASON_UNPARSED_PASS, /* pass: an EtherType that is not parsed, as configured */
	NW_REASON_UNPARSED_DROP, /* drop: the same, as configured */
	NW_REASON_TRUNCATED, /* drop: the frame ends inside a header */
	NW_REASON_MALFORMED_IPV4, /* drop: version, ihl or total length is impossible */
	NW_REASON_MALFORMED_IPV6, /* drop: version or an extension header is impossible */
	NW_REASON_MALFORMED_TCP, /* drop: data offset below 5 or beyond the packet */
	NW_REASON_MALFORMED_UDP, /* drop: length below 8 or beyond the packet */
	NW_REASON_FRAGMENT_TINY, /* drop: a first fragment without its whole L4 header, RFC 1858 */
	NW_REASON_FRAGMENT_OVERLAP, /* drop: offset 1 would rewrite the TCP flags, RFC 1858 */
	NW_REASON_VLAN_DEPTH, /* drop: more VLAN tags than NW_VLAN_DEPTH */
	NW_REASON_EXTENSION_DEPTH, /* drop: more extension headers than NW_EXTENSION_DEPTH */
	NW_REASON_DESTINATION_ALLOW_LIST, /* pass: lists say nothing of the source, one allows the destination */
	NW_REASON_DESTINATION_BLOCK_LIST, /* drop: the same, one blocks the destination */
	NW_REASON_SPOOFED, /* drop: a source that is not behind this interface */
	NW_REASON_MARTIAN, /* drop: a source that no host can have, RFC 6890 */
	NW_REASON_BOGON, /* drop: a source that has no business on the internet, as configured */
	NW_REASON_BANNED, /* drop: a source that a limit banned */
	NW_REASON_LIMITED, /* drop: over a limit */
	NW_REASON_FLOW, /* pass: of a known flow */
	NW_REASON_OUT_OF_STATE, /* drop: belongs to no known flow, and is not what may begin one */
	NW_REASON_BAD_SEQUENCE, /* drop: of a known flow, but its numbers cannot be the peer's */
	NW_REASON_MAX,
};

/* What an event tells of; of the drop of a packet, or of what *number* and *extra* stand for. */
enum nw_event_kind {
	NW_EVENT_DROP = 0, /* number: the class that decided, 0: none */
	NW_EVENT_BAN, /* a limit banned the source. number: the limit; extra: for how long, in nanoseconds */
	NW_EVENT_FLOW_OPEN, /* both ends of a TCP flow are there. number: enum nw_flow_state */
	NW_EVENT_FLOW_CLOSE, /* its last FIN or a RST was seen. number: as before; extra: bytes of both ways */
	NW_EVENT_LIMIT_OVER, /* a limit drops, or counts what it would drop; once a second. number: the limit */
	NW_EVENT_GUARD, /* new flows are held back, and out-of-state passes. extra: how many a second may be new */
	NW_EVENT_MAX,
};

enum nw_engine {
	NW_ENGINE_CLASSIC = 0, /* BPF hash and LPM trie only */
	NW_ENGINE_BUCKETS = 1, /* bucket tables and DIR-24, behind filters */
};

enum nw_flow_mode {
	NW_FLOWS_OFF = 0,
	NW_FLOWS_LOOSE = 1, /* known flows are told from unknown ones, nothing is dropped */
	NW_FLOWS_STRICT = 2, /* TCP that is out of state, or whose numbers cannot be, is dropped */
	NW_FLOWS_MAX,
};

/* What a flow is in; each has a timeout. Those marked * are never stored but follow from what was seen. */
enum nw_flow_state {
	NW_FLOW_SYN_SENT = 0, /* our SYN left */
	NW_FLOW_SYN_RECEIVED =
		1, /* our SYN-ACK left: the first that is known of a connection to us */
	NW_FLOW_ADOPTED = 2, /* TCP whose beginning was not seen: its numbers are taken on trust */
	NW_FLOW_ESTABLISHED = 3, /* both ends proved that they hear each other */
	NW_FLOW_HALF_CLOSED = 4, /* * one FIN was seen */
	NW_FLOW_CLOSED = 5, /* * both were */
	NW_FLOW_RESET = 6, /* * a valid RST was seen */
	NW_FLOW_UDP = 7, /* our packet left */
	NW_FLOW_UDP_ANSWERED = 8,
	NW_FLOW_ICMP = 9, /* our echo request left */
	NW_FLOW_STATE_MAX,
};

/* What is counted of the tables of flows themselves. */
enum nw_flow_event {
	NW_FLOW_INSERTED = 0, /* by a SYN, a SYN-ACK, a UDP packet or an echo request that left */
	NW_FLOW_PROVEN = 1, /* its handshake was completed */
	NW_FLOW_PICKED_UP = 2, /* by what left in mid-stream */
	NW_FLOW_GUARDED = 3, /* not inserted: too many new ones in this second on this CPU */
	NW_FLOW_FAILED = 4, /* not inserted: the map refused it */
	NW_FLOW_SPARED = 5, /* packets out of state that passed, since flows may be missing */
	NW_FLOW_EVENT_MAX,
};

/* The only variable in .rodata: the verifier prunes what a role does not use. */
struct nw_config {
	__u64 hash_multiplier[2]; /* of the first and second choice of line; random per boot, odd */
	__u64 hash_addend[2];
	enum nw_constant abi; /* NW_ABI */
	enum nw_engine engine;
	__u32 line_shift; /* 64 - log2(lines of the bucket table) */
	__u32 line_mask; /* lines - 1 */
	__u32 long_shift; /* the same for the table of prefixes longer than /24 */
	__u32 long_mask;
	__u32 line6_shift; /* and for the table of IPv6 entries */
	__u32 line6_mask;
	enum nw_verdict unparsed_verdict; /* of EtherTypes that are not parsed */
	__u32 failsafe; /* 1 if this role has failsafe entries */
	__u32 dry_run; /* 1: count nothing, write nothing, answer as dry_answer() says */
	__u32 role; /* which role this program was loaded for, see kernel/guards.py */
	/* Of nw_internal alone, see bpf/internal.h. */
	__u32 networks; /* 1: sources must be in the interface's networks */
	__u32 destinations; /* 1: destinations are looked up in the lists */
	/* What comes after the lists, see bpf/defend.h. */
	__u32 bans; /* 1: sources that limits banned are dropped */
	enum nw_flow_mode flows; /* whether packets are looked up among the known flows */
	__u32 limits; /* 1: limits are asked */
	__u32 events; /* 1: there is a ring, and what happens may be told */
	/* See bpf/spoof.h. */
	__u32 spoofing; /* 1: martians are dropped, and sources that are ours or live behind other zones */
	__u32 bogons; /* 1: sources in special-purpose space are dropped */
	__u32 zone; /* of the interfaces of this role: flows are known by zone, not by interface */
	__u32 pad;
};

/*
 * One line of a bucket table: seven entries and a metadata word, one cache line.
 * A slot is address << 32 | class << 16 | length, with length 0 for a host; class 0 means empty.
 * The writer stores a slot with one 8-byte store, the reader loads it once.
 */
struct nw_line {
	__u64 slots[NW_LINE_SLOTS];
	__u64 metadata; /* NW_LINE_*: set before the first spill, cleared only by a rebuild */
};

/*
 * One line of the table of IPv6 entries, hosts and prefixes. An entry is there once its tag is not 0: the
 * writer stores the address first, and a slot whose tag became 0 is written again only a grace period later.
 * So a reader that loads the tag before the address never sees half an entry.
 */
struct nw_line6 {
	__u64 address[NW_LINE6_SLOTS][2]; /* upper and lower half, as numbers */
	__u32 tags[NW_LINE6_SLOTS]; /* length << 16 | class */
	__u32 metadata; /* NW_LINE_* */
};

/*
 * Which lengths IPv6 prefixes have in the /32s of one hash. Bit b of *upper* stands for length 128 - b, of
 * *lower* for 64 - b: the longest is the lowest. Bit 0 of *upper* stands for length 0, since hosts are not
 * here. Bits are set before the first prefix and cleared by a sweep.
 */
struct nw_lengths6 {
	__u64 upper;
	__u64 lower;
};

struct nw_prefix4 {
	__u32 length;
	__be32 address;
};

struct nw_prefix6 {
	__u32 length;
	__u8 address[16];
};

struct nw_host6 {
	__u8 address[16];
};

/* What a class id means. Class 0 is never used. */
struct nw_class {
	enum nw_verdict verdict;
	__u32 is_defined; /* 1; an element that was never written drops */
	enum nw_timed timed;
	__u32 rest; /* the class of the same address once this one's time is over, 0: not listed */
};

/* Until when the timed entries that cover an address hold: CLOCK_MONOTONIC, in nanoseconds, 0: none. */
struct nw_expiry {
	__u64 allow_until;
	__u64 block_until;
};

struct nw_counter {
	__u64 packets;
	__u64 bytes; /* of the frame as XDP sees it, without FCS */
};

/* How many entries each structure holds; an empty one is not looked up. One writer: userspace. */
struct nw_population {
	__u32 hosts4; /* in the BPF hash */
	__u32 prefixes4;
	__u32 hosts6;
	__u32 prefixes6;
};

/* The gateway's own service that must stay reachable, and from where. */
struct nw_failsafe_key {
	__u8 address[16]; /* the gateway's own; IPv4 in the last four bytes, the rest zero */
	__u32 ifindex;
	__be16 port;
	__u8 family; /* 4 or 6 */
	__u8 pad;
};

struct nw_failsafe {
	__u64 window_start; /* nanoseconds, CLOCK_MONOTONIC; fixed windows of one second */
	__u64 window_packets;
	__u32 packets_per_second;
	__u32 prefixes;
	__u8 source[NW_FAILSAFE_PREFIXES][16];
	__u8 mask[NW_FAILSAFE_PREFIXES][16];
};

/* A prefix whose addresses live behind an interface; or, with NW_FOREIGN, whose sources are dropped there. */
struct nw_network {
	__u32 length; /* NW_NETWORK_BITS and the prefix's own */
	__u32 ifindex;
	__u32 family; /* 4 or 6, NW_FOREIGN beside it */
	__u8 address[16]; /* IPv4 in the first four bytes, the rest zero */
};

/* What userspace is told. Addresses as on the wire, IPv4 in the last four bytes; zero where a packet has none. */
struct nw_event {
	__u64 time; /* CLOCK_MONOTONIC, nanoseconds */
	__u64 extra; /* see enum nw_event_kind */
	__u8 source[16];
	__u8 destination[16];
	__u32 ifindex;
	__u32 bytes; /* of a drop the frame's, else of the IP packet */
	__u32 number; /* see enum nw_event_kind */
	enum nw_event_kind kind;
	__be16 source_port;
	__be16 destination_port;
	__be16 ethertype; /* of a drop, behind the VLAN tags */
	__u8 reason; /* enum nw_reason */
	__u8 verdict; /* enum nw_verdict; NW_VERDICT_NONE of what is no drop */
	__u8 family; /* 4, 6, or 0 if not IP */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 pad[5];
};

/* How many events may be told in a window. */
struct nw_event_control {
	__u64 window; /* 0: none at all */
	__u64 per_window; /* of each reason and kind, on each CPU */
};

/* What one CPU told of one reason or kind. */
struct nw_event_budget {
	__u64 window; /* the one that *left* belongs to */
	__u64 left;
	__u64 suppressed; /* events over the budget */
	__u64 sent;
	__u64 lost; /* events that found no room in the ring */
};

/* Which sources are worth a look into the networks with NW_FOREIGN, of all interfaces together. */
struct nw_origins {
	__u64 first4[4]; /* a bit for each first byte of IPv4 */
	__u64 hash6[4]; /* a bit for each answer of origin_bit6() */
};

/*
 * One limit. It is asked once a site names it; userspace writes it before, and may change rate, tolerance,
 * action and ban at any time: each is read once a packet. A slot that is given to another limit gets other
 * secrets, so that it finds nothing of the former one's. The first 64 bytes are all that a packet of IPv4 asks for.
 */
struct nw_limit {
	__u64 interval; /* between two packets or bytes, in 2^-NW_LIMIT_FRACTION units */
	__u64 tolerance; /* how far ahead of the clock a key's time may get, in units: the burst */
	__u64 horizon; /* times further ahead, and NW_LIMIT_SLACK, are not ahead: they are over for hours */
	__u64 secrets[4]; /* of the hash, random */
	__u8 mask4[4]; /* of an IPv4 source */
	enum nw_limit_key key;
	enum nw_limit_action action;
	__u8 counts_bytes; /* 1: of IP packets; 0: packets */
	__u8 is_used; /* 1; userspace only */
	__u8 mask6[16];
	__u64 ban_ns;
	__u64 identity; /* what userspace knows the limit by */
	__u64 peak; /* the largest tolerance that it had; userspace only */
	__u64 rest[3];
};

/* Which limits concern what arrives at an interface, a bit for each. */
struct nw_limit_site {
	__u32 ifindex; /* 0: none */
	__u32 masks[NW_LIMIT_KINDS];
	__u32 with_ports; /* those that are about some destination ports only, see limit_ports */
	__u32 new_only; /* those that known flows are not asked about */
	__u32 exact; /* those whose burst is so short that the coarse clock would tell */
	__u32 rest[4]; /* a cache line each */
};

/*
 * A set of keys: tag << NW_LIMIT_TIME_BITS | theoretical arrival time, modulo 2^40 units of 16 ns; 0: empty.
 * Changed by compare and exchange only.
 */
struct nw_limit_line {
	__u64 slots[NW_LIMIT_WAYS];
};

struct nw_limit_counter {
	__u64 passed_packets;
	__u64 passed_bytes; /* of IP packets, here and below */
	__u64 dropped_packets;
	__u64 dropped_bytes;
	__u64 would_packets; /* over a limit that only watches */
	__u64 would_bytes;
	__u64 bans;
	__u64 bans_refused; /* never to be banned, too many in a second, or no room */
};

struct nw_ban_key {
	__u8 address[16]; /* IPv4 in the last four bytes, the rest zero */
	__u32 family; /* 4 or 6 */
};

struct nw_ban {
	__u64 until; /* CLOCK_MONOTONIC, in nanoseconds */
	__u64 limit; /* the identity of the one that banned it */
};

/* How many bans there are is put - taken: each has one writer, so neither gets lost. */
struct nw_ban_state {
	__u64 put; /* the kernel adds */
	__u64 taken; /* userspace writes */
	__u64 per_second; /* at most, on each CPU; userspace writes */
};

/* A prefix that no limit bans. */
struct nw_never_ban {
	__u32 length; /* NW_NEVER_BAN_BITS and the prefix's own */
	__u32 family; /* 4 or 6 */
	__u8 address[16]; /* IPv4 in the first four bytes, the rest zero */
};

/* A flow by its tuple as it is seen outside, where our end is what source NAT made of it. */
struct nw_flow_key {
	__be32 outside[4]; /* the peer; IPv4 in the last word, the rest zero */
	__be32 inside[4]; /* our end */
	__be16 outside_port; /* of an ICMP echo the identifier, in both */
	__be16 inside_port;
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u16 pad;
	__u32 zone;
};

/*
 * What is known of a flow. Packets from inside are seen at tc egress, those from outside at XDP, perhaps on two
 * CPUs at once. So each field has one writer, named here, and is written by one store; what two may write
 * (seen, was_reset) may be lost once without harm; counts are atomic.
 */
struct nw_flow {
	__u64 seen; /* both: when the last packet came; CLOCK_MONOTONIC, coarse, in steps of 0.1 s */
	__u64 inside_next; /* egress, atomic: one beyond the highest number that our end sent, in 32 bits */
	__u32 inside_first; /* egress: its first number */
	__u32 inside_window; /* egress: the largest window that it offered, scaled */
	__u32 outside_next; /* ingress: one beyond the highest number of the peer's that passed */
	__u32 outside_acked; /* egress: what our end acknowledged */
	__u32 outside_limit; /* egress: the highest number that the peer may send by that */
	__u32 outside_window; /* ingress: the largest window that the peer offered, scaled */
	enum nw_flow_state state;
	__u32 ifindex; /* egress: by which interface it was opened */
	__u8 inside_scale; /* or NW_SCALE_NONE */
	__u8 outside_scale;
	__u8 inside_closed; /* egress: our FIN left */
	__u8 outside_closed; /* ingress: the peer's FIN came */
	__u8 was_reset; /* ingress: 1, by the peer; egress: 2, by our end */
	__u8 is_numbered; /* egress: the numbers above are known */
	__u8 replaces; /* our SYN took the place of a flow that the peer may still believe in */
	__u8 rest;
	__u64 began;
	__u64 packets_out,
		bytes_out; /* of IP; super-packets count as the packets that they become */
	__u64 packets_in, bytes_in;
};

/* How flows are kept. Userspace writes all but guarded_until. */
struct nw_flow_control {
	__u64 adopt_until; /* until then what is out of state passes: flows that began before are missing */
	__u64 guarded_until; /* until then too: the guard kept flows out, or a map refused one */
	__u64 timeouts[NW_FLOW_STATE_MAX]; /* nanoseconds without a packet */
	__u32 new_per_second; /* on each CPU; beyond that no flow is inserted */
	__u32 pad;
};

/* The guard of one CPU: fixed windows of one second. */
struct nw_flow_guard {
	__u64 window_start;
	__u64 inserted;
};

#endif
