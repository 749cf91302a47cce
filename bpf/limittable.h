// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The table of what the keys of limits have used: where a key is, what a packet costs it, and how that is written.
 * A key is looked for at its home in the line first, where most are: a compare instead of a search through the line.
 */
#ifndef NW_LIMITTABLE_H
#define NW_LIMITTABLE_H

#include "config.h"
#include "maps.h"
#include "segment.h"

#define LIMIT_TIME_MASK ((1ULL << NW_LIMIT_TIME_BITS) - 1)
#define LIMIT_WAY_MASK (NW_LIMIT_WAYS - 1)

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
		if (segment->family == 4) {
			c = 0xFFFF;
			d = segment->source[3] & *(const __u32 *)limit->mask4;
		} else {
			const __u32 *mask = (const __u32 *)limit->mask6;

			a = segment->source[0] & mask[0];
			b = segment->source[1] & mask[1];
			c = segment->source[2] & mask[2];
			d = segment->source[3] & mask[3];
		}
		if (limit->action == NW_LIMIT_BAN)
			a |= (__u64)segment->is_proven << 32;
	} else if (limit->key == NW_LIMIT_BY_PORT) {
		d = (__u32)segment->destination_port << 8 | segment->protocol;
	}
	return (limit->secrets[0] + a) * (limit->secrets[1] + b) +
	       (limit->secrets[2] + c) * (limit->secrets[3] + d);
}

/* The key as a claim has it: its tag above the time, and its home in the lowest bits. */
static __always_inline __u64 claim_key(__u64 hash)
{
	__u64 tag = hash << 16 >> NW_LIMIT_TIME_BITS;

	tag |= !tag;
	return tag << NW_LIMIT_TIME_BITS | (hash >> 21 & LIMIT_WAY_MASK);
}

/* All bits if the number is negative, else none. */
static __always_inline __u64 all_if_negative(__u64 number)
{
	barrier_var(number); /* or clang makes a branch of it, here and below */
	number = (__s64)number >> 63;
	barrier_var(number);
	return number;
}

static __always_inline __u64 smaller_of(__u64 a, __u64 b)
{
	__u64 less = b - a;

	return a + (less & all_if_negative(less));
}

/*
 * The smallest is the slot to take: the key's own, else an empty one, its home before others, else the one of the
 * oldest time. *since*: the time that is the furthest ahead, and one: all others are older.
 */
static __always_inline __u64 rank_of(const struct nw_limit_line *line, __u64 way, __u64 key,
				     __u64 since)
{
	__u64 slot = *(const volatile __u64 *)&line->slots[way];
	__u64 tag = slot >> NW_LIMIT_TIME_BITS, differs = tag ^ key >> NW_LIMIT_TIME_BITS;
	__u64 rank = (slot - since) & LIMIT_TIME_MASK;

	rank = (rank & all_if_negative(-tag)) + 1; /* a slot in use has a tag */
	return ((rank & all_if_negative(-differs)) << 3 | way) ^ (key & LIMIT_WAY_MASK);
}

/*
 * The key that is not at home, with the place where it is in its line; else with that of the slot that it may take.
 * Without branches, since which one it is cannot be predicted, and in pairs, since each would wait for the one before.
 * Global, with numbers alone, so that the verifier follows it once.
 */
__noinline __u64 find_key(__u32 index, __u64 key, __u64 now, __u64 horizon)
{
	const struct nw_limit_line *line = bpf_map_lookup_elem(&limit_lines, &index);
	__u64 since = now + horizon + 1, lower, upper;

	if (!line)
		return key; /* cannot be */
	lower = smaller_of(smaller_of(rank_of(line, 0, key, since), rank_of(line, 1, key, since)),
			   smaller_of(rank_of(line, 2, key, since), rank_of(line, 3, key, since)));
	upper = smaller_of(smaller_of(rank_of(line, 4, key, since), rank_of(line, 5, key, since)),
			   smaller_of(rank_of(line, 6, key, since), rank_of(line, 7, key, since)));
	return key ^ (smaller_of(lower, upper) & LIMIT_WAY_MASK);
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

/*
 * Whether the packet is over the limit; in the claim what is written if nothing is against it. A cost is rounded
 * up or down at random, so that rates are right where the interval is no whole number of units.
 */
static __always_inline int judge_claim(struct limit_claim *claim, const struct nw_limit *limit,
				       const struct nw_limit_line *line, __u64 now, __u32 bytes)
{
	__u64 key = claim->key, held, ahead, cost, tolerance, horizon;

	horizon = limit->horizon + NW_LIMIT_SLACK;
	held = *(const volatile __u64 *)&line->slots[key & LIMIT_WAY_MASK];
	if (UNLIKELY((held ^ key) >> NW_LIMIT_TIME_BITS)) {
		key = find_key(claim->line, key, now, horizon);
		claim->key = key;
		held = *(const volatile __u64 *)&line->slots[key & LIMIT_WAY_MASK];
	}
	tolerance = *(const volatile __u64 *)&limit->tolerance;
	/* A new key goes on with the time of the one that it takes the place of: nobody buys a burst by that. */
	ahead = (held - now) & LIMIT_TIME_MASK;
	if (!held || ahead > horizon)
		ahead = 0;
	cost = (limit->counts_bytes ? bytes : 1) * limit->interval;
	cost += limit_dither(held);
	ahead += cost >> NW_LIMIT_FRACTION;
	claim->held = held;
	claim->wanted = (key & ~LIMIT_TIME_MASK) | ((now + ahead) & LIMIT_TIME_MASK);
	return ahead > tolerance;
}

/* Write what was judged. Whether no other CPU was faster. */
static __always_inline int exchange(const struct limit_claim *claim)
{
	struct nw_limit_line *line = bpf_map_lookup_elem(&limit_lines, &claim->line);

	return line && __sync_val_compare_and_swap(&line->slots[claim->key & LIMIT_WAY_MASK],
						   claim->held, claim->wanted) == claim->held;
}

#endif
