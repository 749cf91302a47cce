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
#include "maps.h"
#include "segment.h"

#define LIMIT_TIME_MASK ((1ULL << NW_LIMIT_TIME_BITS) - 1)
#define LIMIT_TOLD 1000000000ULL /* a limit that is over is told of once in that time */
#define LIMIT_TAG_MASK 0xFFFFFFULL
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
 * Pairs of words multiplied (Thorup, "High speed hashing for integers and strings", 2015): with random secrets
 * nobody outside can choose keys that meet. Only the upper bits are used.
 *
 * Of a limit that bans, what a source proved to be its own counts apart from what anybody may have sent in its name:
 * else somebody else's packets would use up what it has, and its own next one would have it banned.
 */
static __always_inline __u64 limit_hash(const struct nw_limit *limit, const struct segment *segment)
{
	__u64 a = 0, b = 0, c = 0, d = 0;

	if (limit->key == NW_LIMIT_BY_SOURCE) {
		const __u32 *mask =
			(const __u32 *)(segment->family == 4 ? limit->mask4 : limit->mask6);

		a = segment->source[0] & mask[0];
		b = segment->source[1] & mask[1];
		c = segment->family == 4 ? 0xFFFF : segment->source[2] & mask[2];
		d = segment->source[3] & mask[3];
		if (limit->action == NW_LIMIT_BAN)
			a |= (__u64)segment->is_proven << 32;
	} else if (limit->key == NW_LIMIT_BY_PORT) {
		d = (__u32)segment->destination_port << 8 | segment->protocol;
	}
	return (limit->secrets[0] + a) * (limit->secrets[1] + b) +
	       (limit->secrets[2] + c) * (limit->secrets[3] + d);
}

/*
 * Where the key is in its line, else the slot of the oldest time, empty ones first. Without branches, since
 * which one it is cannot be predicted.
 */
static __always_inline __u32 limit_way(const struct nw_limit_line *line, __u64 tag, __u64 now,
				       __u64 horizon)
{
	__u64 best = ~0ULL >> 1;

#pragma unroll
	for (__u32 way = 0; way < NW_LIMIT_WAYS; way++) {
		__u64 slot = *(const volatile __u64 *)&line->slots[way];
		__u64 differs = (slot >> NW_LIMIT_TIME_BITS) ^ tag;
		/* From the longest ago to the furthest ahead, which is the horizon. */
		__u64 age = (slot - now - horizon - 1) & LIMIT_TIME_MASK;
		__s64 is_used = (__s64)(slot | -slot) >> 63, is_other = (__s64)-differs >> 63;
		__u64 rank = (((age & is_used) + 1) & is_other) << 3 | way;
		__u64 less = rank - best;

		best += less & (__u64)((__s64)less >> 63);
	}
	return best & (NW_LIMIT_WAYS - 1);
}

/*
 * From 0 to just below one unit. By what the key has used, not by the time: a packet that is tried again would
 * be admitted as soon as it draws a low one, and the rate be too high.
 */
static __always_inline __u64 limit_dither(__u64 held)
{
	__u64 mixed = held * 0x9E3779B97F4A7C15ULL;

	return (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ULL >> (64 - NW_LIMIT_FRACTION);
}

static __always_inline __u32 limit_over(const struct nw_limit *limit)
{
	if (limit->action == NW_LIMIT_MONITOR)
		return LIMIT_WATCHES;
	return limit->action == NW_LIMIT_BAN ? LIMIT_BANS : LIMIT_DROPS;
}

static __always_inline struct limit_work *limit_work_under_way(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&limit_work, &zero);
}

/*
 * Has the line of a limit's key on its way from memory, while the others are asked for theirs: each is a cache miss in
 * the flood that limits are for, and so all of them take as long as one.
 */
__noinline __u32 fetch_limit(__u32 slot)
{
	const struct segment *segment = segment_under_way();
	struct limit_work *work = limit_work_under_way();
	const struct nw_limit *limit = bpf_map_lookup_elem(&limits, &slot);
	const struct nw_limit_line *line;
	__u64 hash;
	__u32 index;

	if (!limit || !segment || !work)
		return 0;
	hash = limit_hash(limit, segment);
	work->claims[slot & (NW_LIMITS - 1)].hash = hash;
	index = hash >> NW_LIMIT_LINES_SHIFT;
	line = bpf_map_lookup_elem(&limit_lines, &index);
	if (line)
		*(const volatile __u64 *)line->slots; /* asked for, and not waited for */
	return 0;
}

/*
 * What a limit says of the packet, and in its claim what it writes if nothing is against it. A cost is rounded
 * up or down at random, so that rates are right where the interval is no whole number of units. Global, as are
 * the others, so that the verifier follows it once and not for each limit that a packet may meet.
 */
__noinline __u32 judge_limit(__u32 slot)
{
	const struct segment *segment = segment_under_way();
	struct limit_work *work = limit_work_under_way();
	const struct nw_limit *limit = bpf_map_lookup_elem(&limits, &slot);
	const struct nw_limit_line *line;
	struct limit_claim *claim;
	__u64 hash, tag, held, ahead, cost, tolerance, horizon, now;
	__u32 index;

	if (!limit || !segment || !work)
		return LIMIT_DROPS; /* cannot be */
	claim = &work->claims[slot & (NW_LIMITS - 1)];
	now = work->now >> NW_LIMIT_UNIT_SHIFT;
	hash = claim->hash;
	index = hash >> NW_LIMIT_LINES_SHIFT;
	tag = hash >> 24 & LIMIT_TAG_MASK;
	tag |= !tag;
	line = bpf_map_lookup_elem(&limit_lines, &index);
	if (!line)
		return LIMIT_DROPS; /* cannot be */
	claim->line = index;
	horizon = limit->horizon + NW_LIMIT_SLACK;
	claim->way = limit_way(line, tag, now, horizon);
	held = *(const volatile __u64 *)&line->slots[claim->way & (NW_LIMIT_WAYS - 1)];
	tolerance = *(const volatile __u64 *)&limit->tolerance;
	/* A new key goes on with the time of the one that it takes the place of: nobody buys a burst by that. */
	ahead = (held - now) & LIMIT_TIME_MASK;
	if (!held || ahead > horizon)
		ahead = 0;
	cost = (limit->counts_bytes ? segment->bytes : 1) * limit->interval;
	cost += limit_dither(held);
	ahead += cost >> NW_LIMIT_FRACTION;
	claim->held = held;
	claim->wanted = tag << NW_LIMIT_TIME_BITS | ((now + ahead) & LIMIT_TIME_MASK);
	return ahead > tolerance ? limit_over(limit) : LIMIT_ADMITS;
}

static __always_inline void count_limit(__u32 slot, __u32 answer, __u32 bytes)
{
	struct nw_limit_counter *counter;

	if (nw_config.dry_run)
		return;
	counter = bpf_map_lookup_elem(&limit_counters, &slot);
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

static __always_inline int exchange(const struct limit_claim *claim)
{
	__u32 index = claim->line;
	struct nw_limit_line *line = bpf_map_lookup_elem(&limit_lines, &index);

	return line && __sync_val_compare_and_swap(&line->slots[claim->way & (NW_LIMIT_WAYS - 1)],
						   claim->held, claim->wanted) == claim->held;
}

/* Write what was judged. Where another CPU was faster, judge again; who always comes too late is over. */
__noinline __u32 commit_limit(__u32 slot)
{
	struct limit_work *work = limit_work_under_way();

	if (!work)
		return LIMIT_DROPS; /* cannot be */
	for (int attempt = 0; attempt < NW_LIMIT_RETRIES; attempt++) {
		__u32 answer;

		if (exchange(&work->claims[slot & (NW_LIMITS - 1)]))
			return LIMIT_ADMITS;
		answer = judge_limit(slot);
		if (answer != LIMIT_ADMITS)
			return answer;
	}
	return LIMIT_DROPS;
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

/* The limits of *mask* that the packet is over: in the lower half those that drop, in the upper all. */
static __noinline __u64 judge_limits(__u32 mask, __u32 bytes, struct limit_work *work)
{
	__u32 refused = 0, over = 0, left = mask;

	for (int i = 0; i < NW_LIMITS && left; i++) {
		fetch_limit(lowest_bit(left));
		left &= left - 1;
	}
	for (int i = 0; i < NW_LIMITS && mask; i++) {
		__u32 slot = lowest_bit(mask), answer = judge_limit(slot);

		mask &= mask - 1;
		if (answer == LIMIT_ADMITS)
			continue;
		over |= 1U << slot;
		refused |= (answer != LIMIT_WATCHES) << slot;
		count_limit(slot, answer, bytes);
		if (answer == LIMIT_BANS)
			work->banned_by = slot + 1;
	}
	return (__u64)over << 32 | refused;
}

/* Have the limits of *mask*, which admit the packet, take note of it. Whether all still do. */
static __noinline __u32 commit_limits(__u32 mask, __u32 bytes)
{
	for (int i = 0; i < NW_LIMITS && mask; i++) {
		__u32 slot = lowest_bit(mask), answer = commit_limit(slot);

		mask &= mask - 1;
		count_limit(slot, answer, bytes);
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
static __noinline __u32 is_over_limit(const struct segment *segment, __u32 of_known_flow,
				      __u32 is_proven)
{
	struct limit_work *work;
	__u64 over, concerned;
	__u32 mask;

	if (!segment)
		return 1; /* cannot be */
	concerned = limits_of(segment, of_known_flow);
	mask = concerned;
	if (!mask)
		return 0;
	work = limit_work_under_way();
	if (!work)
		return 1; /* cannot be */
	work->now = concerned >> 32 ? defence_clock() : defence_clock_coarse();
	work->banned_by = 0;
	over = judge_limits(mask, segment->bytes, work);
	if (EMITS && over &&
	    UNLIKELY((__u32)(over >> 32) & ~work->told ||
		     work->now - work->told_since > LIMIT_TOLD))
		tell_over(over >> 32, over);
	if ((__u32)over) {
		if (work->banned_by && is_proven && !nw_config.dry_run)
			ban_source(segment, work);
		return 1 + lowest_bit(over);
	}
	return !nw_config.dry_run && !commit_limits(mask & ~(__u32)(over >> 32), segment->bytes);
}

#endif
