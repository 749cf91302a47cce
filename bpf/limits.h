// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Limits: how much of what may come in a time, by source, by prefix, by port or in all. GCRA: a key has a time
 * that each packet moves on by its interval, and that may be ahead of the clock by the burst. That is one
 * number, in a table of ours: eight keys in a line of 64 bytes, so that a flood from random sources costs one
 * cache miss a limit, where an LRU hash costs several and a lock (ARCHITECTURE.md has the figures).
 *
 * All limits that concern a packet are asked before one of them takes note of it: what is dropped uses up
 * nothing. Two CPUs that meet in one line: the slower one judges again.
 */
#ifndef NW_LIMITS_H
#define NW_LIMITS_H

#include "bans.h"
#include "config.h"
#include "events.h"
#include "limittable.h"
#include "maps.h"
#include "segment.h"

#define LIMIT_TOLD 1000000000ULL /* a limit that is over is told of once in that time */
#define IPPROTO_ICMP6 58

enum limit_answer {
	LIMIT_ADMITS = 0,
	LIMIT_WATCHES, /* over, and only counted */
	LIMIT_DROPS,
	LIMIT_BANS,
};

static __always_inline __u32 limit_kind(const struct segment *segment)
{
	switch (segment->protocol) {
	case IPPROTO_TCP:
		return segment->has_l4 && (segment->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ?
			       NW_LIMIT_TCP_SYN :
			       NW_LIMIT_TCP;
	case IPPROTO_UDP:
		return NW_LIMIT_UDP;
	case IPPROTO_ICMP:
		return segment->family == 4 ? NW_LIMIT_ICMP : NW_LIMIT_OTHER;
	case IPPROTO_ICMP6:
		return segment->family == 6 ? NW_LIMIT_ICMP : NW_LIMIT_OTHER;
	}
	return NW_LIMIT_OTHER;
}

static __always_inline const struct nw_limit_site *limit_site(__u32 ifindex)
{
	for (__u32 probe = 0; probe < NW_LIMIT_PROBES; probe++) {
		__u32 index = (ifindex + probe) & (NW_LIMIT_SITES - 1);
		const struct nw_limit_site *site = bpf_map_lookup_elem(&limit_sites, &index);

		if (site && site->ifindex == ifindex)
			return site;
	}
	return 0;
}

/* Of the limits that are about some ports, those that are about this one. */
static __always_inline __u32 limits_of_port(const struct segment *segment)
{
	__u32 port = bpf_ntohs(segment->destination_port), index = port >> 1;
	const __u64 *word = bpf_map_lookup_elem(&limit_ports, &index);

	if (!word || !segment->has_l4)
		return 0;
	return *word >> (port & 1) * 32;
}

/* A bit for each limit that concerns the packet, and in the upper half for those that need the exact clock. */
static __always_inline __u64 limits_of(const struct segment *segment, __u32 of_known_flow)
{
	const struct nw_limit_site *site = limit_site(segment->ifindex);
	__u32 mask;

	if (!site)
		return 0;
	mask = site->masks[limit_kind(segment) & (NW_LIMIT_KINDS - 1)];
	if (segment->is_fragment)
		mask |= site->masks[NW_LIMIT_FRAGMENT];
	if (of_known_flow)
		mask &= ~site->new_only;
	if (mask & site->with_ports)
		mask &= ~site->with_ports | limits_of_port(segment);
	return (__u64)(mask & site->exact) << 32 | mask;
}

/*
 * The number of the lowest bit that is set: how many are below it. BPF has no instruction for it, and with
 * branches the verifier would follow each.
 */
static __always_inline __u32 lowest_bit(__u32 mask)
{
	__u32 below = ~mask & (mask - 1);

	below -= below >> 1 & 0x55555555;
	below = (below & 0x33333333) + (below >> 2 & 0x33333333);
	below = (below + (below >> 4)) & 0x0F0F0F0F;
	return below * 0x01010101 >> 24 & (NW_LIMITS - 1);
}

static __always_inline struct limit_work *limit_work_under_way(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&limit_work, &zero);
}

static __always_inline __u32 limit_over(const struct nw_limit *limit)
{
	if (limit->action == NW_LIMIT_MONITOR)
		return LIMIT_WATCHES;
	return limit->action == NW_LIMIT_BAN ? LIMIT_BANS : LIMIT_DROPS;
}

/* Counters come in pairs: what passed, what was dropped, and what would have been. */
static __always_inline void count_limit(const __u32 *slot, __u32 answer, __u32 bytes)
{
	struct nw_limit_counter *counter;

	if (nw_config.dry_run)
		return;
	counter = bpf_map_lookup_elem(&limit_counters, slot);
	if (!counter)
		return;
	if (answer == LIMIT_ADMITS) {
		counter->passed_packets++;
		counter->passed_bytes += bytes;
	} else if (answer == LIMIT_WATCHES) {
		counter->would_packets++;
		counter->would_bytes += bytes;
	} else {
		counter->dropped_packets++;
		counter->dropped_bytes += bytes;
	}
}

/*
 * A claim for each limit of *mask*, and their lines on the way from memory: each is a cache miss in the flood that
 * limits are for, and so all of them take as long as one.
 */
static __always_inline void claim_all(struct limit_work *work, const struct segment *segment,
				      __u32 mask)
{
	__u32 count = 0;

	for (; count < NW_LIMITS && mask; count++) {
		struct limit_claim *claim = &work->claims[count];
		const struct nw_limit_line *line;
		const struct nw_limit *limit;
		__u64 hash;

		claim->slot = lowest_bit(mask);
		mask &= mask - 1;
		limit = bpf_map_lookup_elem(&limits, &claim->slot);
		if (!limit)
			break; /* cannot be */
		hash = limit_hash(limit, segment);
		claim->line = hash >> NW_LIMIT_LINES_SHIFT;
		claim->key = claim_key(hash);
		line = bpf_map_lookup_elem(&limit_lines, &claim->line);
		if (line)
			*(const volatile __u64 *)line->slots; /* asked for, and not waited for */
	}
	work->count = count; /* through memory, so that the verifier does not follow each number */
}

/* The limits that the packet is over: in the lower half those that drop, in the upper all. */
static __always_inline __u64 judge_all(struct limit_work *work, __u32 bytes)
{
	__u32 refused = 0, over = 0, count = *(volatile __u32 *)&work->count;
	__u64 now = work->now >> NW_LIMIT_UNIT_SHIFT;

	for (__u32 i = 0; i < NW_LIMITS && i < count; i++) {
		struct limit_claim *claim = &work->claims[i];
		const struct nw_limit *limit = bpf_map_lookup_elem(&limits, &claim->slot);
		const struct nw_limit_line *line = bpf_map_lookup_elem(&limit_lines, &claim->line);
		__u32 slot = claim->slot & (NW_LIMITS - 1), answer;

		if (!limit || !line)
			return 1; /* cannot be */
		if (!judge_claim(claim, limit, line, now, bytes))
			continue;
		answer = limit_over(limit);
		over |= 1U << slot;
		refused |= (answer != LIMIT_WATCHES) << slot;
		count_limit(&claim->slot, answer, bytes);
		if (answer == LIMIT_BANS)
			work->banned_by = slot + 1;
	}
	return (__u64)over << 32 | refused;
}

/*
 * Where another CPU was faster, judge again, and write; who always comes too late is over. Global, so that the
 * verifier follows it once and not for each limit that a packet may meet.
 */
__noinline __u32 commit_again(__u32 index, __u32 bytes)
{
	struct limit_work *work = limit_work_under_way();
	const struct nw_limit_line *line;
	const struct nw_limit *limit;
	struct limit_claim *claim;
	__u64 now;

	if (!work)
		return LIMIT_DROPS; /* cannot be */
	now = work->now >> NW_LIMIT_UNIT_SHIFT;
	claim = &work->claims[index & (NW_LIMITS - 1)];
	limit = bpf_map_lookup_elem(&limits, &claim->slot);
	line = bpf_map_lookup_elem(&limit_lines, &claim->line);
	if (!limit || !line)
		return LIMIT_DROPS; /* cannot be */
	for (int attempt = 1; attempt < NW_LIMIT_RETRIES; attempt++) {
		if (judge_claim(claim, limit, line, now, bytes))
			return limit_over(limit);
		if (exchange(claim))
			return LIMIT_ADMITS;
	}
	return LIMIT_DROPS;
}

/* Have the limits, which admit the packet, take note of it; but for those in *over*. Whether all still do. */
static __always_inline __u32 commit_all(struct limit_work *work, __u32 over, __u32 bytes)
{
	__u32 count = *(volatile __u32 *)&work->count;

	for (__u32 i = 0; i < NW_LIMITS && i < count; i++) {
		const struct limit_claim *claim = &work->claims[i];
		__u32 answer = LIMIT_ADMITS;

		if (over >> (claim->slot & (NW_LIMITS - 1)) & 1)
			continue;
		if (UNLIKELY(!exchange(claim)))
			answer = commit_again(i, bytes);
		count_limit(&claim->slot, answer, bytes);
		if (answer == LIMIT_DROPS || answer == LIMIT_BANS)
			return 0;
	}
	return 1;
}

/*
 * Tell of one limit of *over* that was not told of in this second on this CPU; *refused*: those of them that drop.
 * Global, as judge_limit().
 */
__noinline int tell_over(__u32 over, __u32 refused)
{
	struct limit_work *work = limit_work_under_way();
	__u32 slot;

	if (!EMITS || !work)
		return 0;
	if (work->now - work->told_since > LIMIT_TOLD) {
		work->told_since = work->now;
		work->told = 0;
	}
	over &= ~work->told;
	if (!over)
		return 0;
	slot = lowest_bit(over);
	work->told |= 1U << slot;
	emit_segment(NW_EVENT_LIMIT_OVER,
		     refused >> slot & 1 ? NW_REASON_LIMITED : NW_REASON_DEFAULT, slot, 0);
	return 0;
}

/*
 * Whether a packet is over a limit that drops: 1 + the slot of the first one, as far as it is known, else 0. Those
 * that only watch count it. *is_proven*: of a flow whose peer was seen to answer, so its source may be banned.
 */
static __always_inline __u32 is_over_limit(const struct segment *segment, __u32 of_known_flow,
					   __u32 is_proven)
{
	__u64 concerned = limits_of(segment, of_known_flow), over;
	struct limit_work *work;

	if (!(__u32)concerned)
		return 0;
	work = limit_work_under_way();
	if (!work)
		return 1; /* cannot be */
	claim_all(work, segment, concerned);
	work->now = concerned >> 32 ? defence_clock() : defence_clock_coarse();
	work->banned_by = 0;
	over = judge_all(work, segment->bytes);
	if (EMITS && over &&
	    UNLIKELY((__u32)(over >> 32) & ~work->told ||
		     work->now - work->told_since > LIMIT_TOLD))
		tell_over(over >> 32, over);
	if ((__u32)over) {
		if (work->banned_by && is_proven && !nw_config.dry_run)
			ban_source(segment, work);
		return 1 + lowest_bit(over);
	}
	return !nw_config.dry_run && !commit_all(work, over >> 32, segment->bytes);
}

#endif
