// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * IPv6 source address to class id in the buckets engine: one table of hosts and prefixes, each found by
 * the hash of its address and length. Which lengths are worth a look lengths6 says, and whether an entry
 * of that hash may be there filter6 does: so a listed source touches one line of the table, whatever the
 * number of rules, and a clean one none.
 */
#ifndef NW_LISTS6_H
#define NW_LISTS6_H

#include <linux/in6.h>
#include <bpf/bpf_endian.h>

#include "config.h"
#include "maps.h"
#include "parse.h"

#define LENGTHS6 128 /* distinct ones: bound of the walk */

static __always_inline __u64 hash6(__u64 high, __u64 low, __u64 length, int choice)
{
	return nw_config.hash_multiplier[choice] * high + nw_config.hash_multiplier[!choice] * low +
	       nw_config.hash_addend[!choice] * length + nw_config.hash_addend[choice];
}

static __always_inline __u32 line6_of(__u64 hash)
{
	return (hash >> nw_config.line6_shift) & nw_config.line6_mask;
}

/* The class of an entry in one line, 0 if it is not there; the line's flags are added to *metadata*. */
static __always_inline __u32 search_line6(__u32 index, __u64 high, __u64 low, __u32 length,
					  __u32 *metadata)
{
	const volatile struct nw_line6 *line = bpf_map_lookup_elem(&lines6, &index);
	__u32 found = 0;

	if (!line)
		return 0;
	*metadata |= line->metadata;
	/* As in search_line(): no branch on which slot matches. */
#pragma unroll
	for (int i = 0; i < NW_LINE6_SLOTS; i++) {
		__u32 tag = line->tags[i]; /* before the address, see struct nw_line6 */
		__u64 differs = (line->address[i][0] ^ high) | (line->address[i][1] ^ low) |
				(tag >> 16 ^ length);

		differs = (differs | -differs) >> 63; /* 1 or 0 */
		barrier_var(differs);
		found |= tag & (differs - 1) & 0xFFFF;
	}
	return found;
}

static __always_inline int is_marked6(__u32 plane, __u64 hash)
{
	__u32 number = hash >> NW_FILTER6_SHIFT, index = plane + (number >> 6);
	const volatile __u64 *word = bpf_map_lookup_elem(&filter6, &index);

	return word && *word >> (number & 63) & 1;
}

static __noinline __u32 spilled_entry6(__u64 high, __u64 low, __u32 length)
{
	struct nw_prefix6 key = { .length = length };
	__be64 halves[2] = { bpf_cpu_to_be64(high), bpf_cpu_to_be64(low) };
	__u32 *found;

	__builtin_memcpy(key.address, halves, sizeof(key.address));
	found = bpf_map_lookup_elem(&spilled6, &key);
	return found ? *found : 0;
}

/* The class of exactly this entry, 0 if it is not listed; *hash* is its first. */
__noinline __u32 entry6(__u64 high, __u64 low, __u32 length, __u64 hash)
{
	__u32 metadata = 0, unused = 0;
	__u32 class_id = search_line6(line6_of(hash), high, low, length, &metadata);

	if (class_id || !metadata)
		return class_id;
	hash = hash6(high, low, length, 1);
	class_id = search_line6(line6_of(hash), high, low, length, &unused);
	if (class_id || !(metadata & NW_LINE_SPILL))
		return class_id;
	return spilled_entry6(high, low, length);
}

/* Number of the lowest bit that is set. */
static __always_inline __u32 lowest(__u64 bits)
{
	__u64 below = (bits & -bits) - 1; /* as many ones as bits below it: count them */

	below -= below >> 1 & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0F0F0F0F0F0F0F0FULL;
	return below * 0x0101010101010101ULL >> 56;
}

/* The class of a prefix of this length that covers the address, 0 if none is listed. */
static __always_inline __u32 prefix6_of_length(__u64 high, __u64 low, __u32 length)
{
	__u64 hash;

	high &= length >= 64 ? ~0ULL : ~(~0ULL >> (length & 63));
	low &= length <= 64 ? 0 : ~(~0ULL >> (length & 63));
	hash = hash6(high, low, length, 0);
	return is_marked6(NW_FILTER6_PREFIXES, hash) ? entry6(high, low, length, hash) : 0;
}

/* The class of the longest prefix that covers the address, 0 if none does. */
__noinline __u32 prefix6_in_table(__u64 high, __u64 low)
{
	__u64 hash = nw_config.hash_multiplier[1] * (high >> 32) + nw_config.hash_addend[1];
	__u32 index = hash >> NW_LENGTHS6_SHIFT, class_id;
	const volatile struct nw_lengths6 *lengths = bpf_map_lookup_elem(&lengths6, &index);
	__u64 upper, lower, any;

	if (!lengths)
		return 0;
	upper = lengths->upper;
	lower = lengths->lower;
	any = upper & 1;
	upper &= ~1ULL;
	for (int i = 0; i < LENGTHS6 && (upper | lower); i++) {
		__u32 length = upper ? 128 - lowest(upper) : 64 - lowest(lower);

		class_id = prefix6_of_length(high, low, length);
		if (class_id)
			return class_id;
		if (upper)
			upper &= upper - 1;
		else
			lower &= lower - 1;
	}
	return any ? prefix6_of_length(high, low, 0) : 0;
}

static __always_inline __u32 lookup6_buckets(const struct in6_addr *address)
{
	__u64 high = (__u64)bpf_ntohl(address->s6_addr32[0]) << 32 |
		     bpf_ntohl(address->s6_addr32[1]);
	__u64 low = (__u64)bpf_ntohl(address->s6_addr32[2]) << 32 |
		    bpf_ntohl(address->s6_addr32[3]);
	__u64 hash = hash6(high, low, 128, 0);
	__u32 class_id = 0;

	if (is_marked6(NW_FILTER6_HOSTS, hash))
		class_id = entry6(high, low, 128, hash);
	return class_id ? class_id : prefix6_in_table(high, low);
}

#endif
