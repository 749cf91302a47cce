// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every map of the data plane: who writes it, who reads it, what a missing entry means.
 * Sizes of the list maps are set by userspace before the load, from the policy's capacities; the
 * maps of an engine that is not selected are not created.
 */
#ifndef NW_MAPS_H
#define NW_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "neurowall.h"
#include "segment.h"

/* What a limit would write if all of them admit the packet. */
struct limit_claim {
	__u32 slot; /* of the limit */
	__u32 line; /* of its key */
	__u64 key; /* tag, and in the lowest bits the slot of the line: its home, then where it was found */
	__u64 held;
	__u64 wanted;
};

struct limit_work {
	__u64 now; /* nanoseconds */
	__u64 told_since; /* the second in which limits of *told* were told to be over */
	__u32 told; /* a bit for each slot */
	__u32 count; /* of claims */
	__u64 banned_by; /* 1 + the slot of a limit that bans, 0: none */
	struct limit_claim claims[NW_LIMITS];
	__u64 ban_second; /* which one it is, and its bans */
	__u64 bans;
	struct nw_never_ban prefix;
	struct nw_ban_key key;
	struct nw_ban ban;
};

/* The packet under way, for what comes after the lists: too large to be handed on by the stack. Written and
 * read within one run of a program.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct segment);
} segments SEC(".maps");

static __always_inline struct segment *segment_under_way(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&segments, &zero);
}

/* Buckets engine, IPv4 hosts. Userspace writes slots through mmap; a host that is not in its first
 * line, nor its second where the first says NW_LINE_OVERFLOW, is not in the table. Values of 64
 * bytes are aligned to cache lines only because the map is mmapable.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_line);
} lines SEC(".maps");

/* Buckets engine, a filter before the host table (Bloom, 1970, with one hash): 2^NW_FILTER4_LOG bits
 * for each line, 0 means that no host of this hash is listed. Userspace sets a bit before the first host
 * and clears it after the last. At 512 KiB it costs clean traffic a cache hit where the table, or a bit for
 * each /24 (2 MiB), costs a TLB miss. Userspace writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} filter4 SEC(".maps");

/* Buckets engine, before the IPv4 prefixes: a bit for each /22, 0 means that no listed prefix touches
 * it. Userspace writes, in the same order.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_BITMAP_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} bitmap SEC(".maps");

/* IPv4 hosts to class id: all of them in the classic engine, in the buckets engine only those that
 * found both their lines full. Userspace writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, __u32);
} hosts4 SEC(".maps");

/* Buckets engine, IPv4 prefixes up to /24, DIR-24 of DIR-24-8 (Gupta et al., 1998): for each /24 the
 * class of the longest of them, and NW_NET_LONGER where long4 must be asked first. Userspace writes
 * through mmap: one 2-byte store switches a /24.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_NETS_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} nets4 SEC(".maps");

/* Buckets engine, IPv4 prefixes longer than /24: a bucket table whose lines are chosen by the /24,
 * so that one line holds them all. Userspace writes through mmap.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_line);
} long4 SEC(".maps");

/* Buckets engine: the IPv4 prefixes themselves, as slots, for the next daemon: a painted table does
 * not say what it was painted from. Only userspace reads and writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} registry4 SEC(".maps");

/* IPv4 prefixes to length << 16 | class, longest match: all of them in the classic engine, in the
 * buckets engine only long ones that found both their lines full. Userspace writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct nw_prefix4);
	__type(value, __u32);
} prefixes4 SEC(".maps");

/* Buckets engine, IPv6 hosts and prefixes. Userspace writes through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_line6);
} lines6 SEC(".maps");

/* Buckets engine, before lines6: a bit for the hash of each entry, hosts and prefixes apart; as filter4. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_FILTER6_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} filter6 SEC(".maps");

/* Buckets engine: which lengths are worth a look for an address. Userspace writes, as a filter. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_LENGTHS6_ELEMENTS);
	__type(key, __u32);
	__type(value, struct nw_lengths6);
} lengths6 SEC(".maps");

/* Buckets engine, IPv6 entries that found both their lines full, to class id. Userspace writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct nw_prefix6);
	__type(value, __u32);
} spilled6 SEC(".maps");

/* Classic engine, IPv6 hosts to class id. Userspace writes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct nw_host6);
	__type(value, __u32);
} hosts6 SEC(".maps");

/* Classic engine, IPv6 prefixes to length << 16 | class, longest match. Userspace writes. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct nw_prefix6);
	__type(value, __u32);
} prefixes6 SEC(".maps");

/* Classic engine: how many entries the maps hold, so that an empty one is not looked up. Userspace
 * writes: a count grows before the first entry is there and shrinks after the last has gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_population);
} population SEC(".maps");

/* Class id to verdict. Userspace writes an element before the first entry that names it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_class);
} classes SEC(".maps");

/* The class of the last listed source on each CPU: a guess at the next one, see predicted_class(). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} last_class SEC(".maps");

/* Expiries of timed hosts and timed prefixes (longest match), asked only for an address whose class is
 * timed; both engines. A value holds for everything timed that covers the address. Userspace writes: an
 * expiry before the entry, and removes it a grace period after the entry.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __be32);
	__type(value, struct nw_expiry);
} timed_hosts4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct nw_prefix4);
	__type(value, struct nw_expiry);
} timed_prefixes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct nw_host6);
	__type(value, struct nw_expiry);
} timed_hosts6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct nw_prefix6);
	__type(value, struct nw_expiry);
} timed_prefixes6 SEC(".maps");

/* Packets that matched a class. The kernel adds, userspace reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_counter);
} class_counters SEC(".maps");

/* Packets by reason; the sum is every packet seen. The kernel adds, userspace reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NW_REASON_MAX);
	__type(key, enum nw_reason);
	__type(value, struct nw_counter);
} reason_counters SEC(".maps");

/* The operator's own ways in. Userspace writes; the kernel counts within the window. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct nw_failsafe_key);
	__type(value, struct nw_failsafe);
} failsafe SEC(".maps");

/* What lives behind each interface whose sources are checked; the value means nothing. With NW_FOREIGN, what
 * cannot come from there, and the value is the reason. Userspace writes: an interface's prefixes before the
 * program that asks for them, new ones before old ones go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct nw_network);
	__type(value, __u32);
} networks SEC(".maps");

/* What is told to userspace. The kernel adds, one reader takes out; its position is part of the map, so the
 * next reader goes on. Needs Linux 5.8: made only where nw_config.events is set.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* How much may be told. Userspace writes, a new window each second while it reads. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_event_control);
} event_control SEC(".maps");

/* What is left of it and what was told, by reason of a drop, then NW_REASON_MAX + kind. The kernel writes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NW_REASON_MAX + NW_EVENT_MAX);
	__type(key, __u32);
	__type(value, struct nw_event_budget);
} event_budgets SEC(".maps");

/* The event under way: too large for the stack. Written and read within one run of a program. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_event);
} event_draft SEC(".maps");

/* The limits by slot. Userspace writes; the kernel asks for those that a site names. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_LIMITS);
	__type(key, __u32);
	__type(value, struct nw_limit);
} limits SEC(".maps");

/* Which limits concern an interface: at its number modulo the size, or up to NW_LIMIT_PROBES behind it; an
 * interface that is not there has none. Userspace writes: a bit after the limit, and clears it a grace
 * period before.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_LIMIT_SITES);
	__type(key, __u32);
	__type(value, struct nw_limit_site);
} limit_sites SEC(".maps");

/* For each destination port the limits that are about it, of those that are about some ports only: 32 bits
 * a port. Userspace writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_LIMIT_PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} limit_ports SEC(".maps");

/* What the keys of all limits have used up. The kernel writes; a key that is not there begins with what the
 * one had that it takes the place of. Userspace only clears what is over for hours.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NW_LIMIT_LINES);
	__type(key, __u32);
	__type(value, struct nw_limit_line);
} limit_lines SEC(".maps");

/* By slot of a limit. The kernel adds, userspace reads, and clears it for another limit. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NW_LIMITS);
	__type(key, __u32);
	__type(value, struct nw_limit_counter);
} limit_counters SEC(".maps");

/* What is judged of the packet under way; and the bans of this second. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct limit_work);
} limit_work SEC(".maps");

/* Sources that a limit banned. The kernel puts them there, userspace takes them out when they are over. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, NW_BANS);
	__type(key, struct nw_ban_key);
	__type(value, struct nw_ban);
} bans SEC(".maps");

/* How many bans there are, so that none is looked up while there are none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_ban_state);
} ban_state SEC(".maps");

/* Who is never banned: the gateway itself and the operator's ways in. The value means nothing. Userspace
 * writes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct nw_never_ban);
	__type(value, __u32);
} never_ban SEC(".maps");

#ifdef NW_VIRTUAL_TIME
/* Tests of limits read the clock from here: nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} virtual_time SEC(".maps");
#endif

/* A filter before the networks with NW_FOREIGN: one cache line that every packet reads. A clear bit promises
 * that none of them holds such a source. Userspace sets a bit before the first network, clears it after the last.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_origins);
} origins SEC(".maps");
/*
 * Flows whose handshake was completed or that were adopted: TCP only. Apart from half_flows, because nobody who
 * forges sources brings a flow in here, and so nobody pushes one out. The kernel inserts and writes; userspace
 * seeds it from conntrack, and reads. Missing: not known.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct nw_flow_key);
	__type(value, struct nw_flow);
} flows SEC(".maps");

/* All others: TCP that is being opened, UDP, ICMP echo. A forged SYN to an open port makes one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct nw_flow_key);
	__type(value, struct nw_flow);
} half_flows SEC(".maps");

/* How flows are kept. Userspace writes all but guarded_until. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_flow_control);
} flow_control SEC(".maps");

/* How many flows each CPU inserted in its second. The kernel writes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nw_flow_guard);
} flow_guard SEC(".maps");

/* What happened to the tables of flows. The kernel adds, userspace reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NW_FLOW_EVENT_MAX);
	__type(key, enum nw_flow_event);
	__type(value, __u64);
} flow_events SEC(".maps");

/* A flow that is about to be inserted, or the tuple inside an ICMP error: too large for the stack. */
struct flow_scratch {
	struct nw_flow_key key;
	__u32 rest;
	struct nw_flow flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_scratch);
} flow_scratches SEC(".maps");

#endif
