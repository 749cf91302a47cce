// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Source address to class id. Hosts first, then the longest prefix: userspace gives each entry the
 * class of everything that covers it, so the first match is final. Cache misses are the whole cost;
 * the buckets engine touches one line for a listed host, one for a member of a prefix (two if it is
 * longer than /24), and for everybody else two small filters, which stay in the cache. IPv6: lists6.h.
 */
#ifndef NW_LISTS_H
#define NW_LISTS_H

#include "config.h"
#include "lists6.h"
#include "maps.h"
#include "parse.h"

/* The class of *address* in one line, 0 if it is not there; the line's flags go to *metadata*. */
static __always_inline __u32 search_line(__u32 index, __u32 address, __u64 *metadata)
{
	const volatile struct nw_line *line = bpf_map_lookup_elem(&lines, &index);
	__u64 found = 0;

	if (!line)
		return 0;
	*metadata = line->metadata;
	/* No branch on which slot matches: it could only be predicted wrongly, and late, when the line
	 * has come from memory. An empty slot is all zero: it can only match 0.0.0.0, with class 0.
	 */
#pragma unroll
	for (int i = 0; i < NW_LINE_SLOTS; i++) {
		__u64 slot = line->slots[i];
		__u64 differs = slot >> 32 ^ address;

		barrier_var(differs); /* or clang turns the mask back into a branch */
		found |= slot & (__u64)((__s64)(differs - 1) >> 63);
	}
	return (found >> 16) & 0xFFFF;
}

/* Multiply-add, universal in its upper bits for a random odd multiplier: Dietzfelbinger et al., 1997. */
static __always_inline __u64 hash4(__u32 address, int choice)
{
	return nw_config.hash_multiplier[choice] * address + nw_config.hash_addend[choice];
}

static __always_inline __u32 line_of(__u64 hash)
{
	return (hash >> nw_config.line_shift) & nw_config.line_mask;
}

static __always_inline __u32 host4_in_hash(__be32 address)
{
	__u32 *class_id = bpf_map_lookup_elem(&hosts4, &address);

	return class_id ? *class_id : 0;
}

/* Whether the bit of a hash is set in filter4. */
static __always_inline int may_be_host4(__u64 hash)
{
	__u32 number = hash >> (nw_config.line_shift - NW_FILTER4_LOG);
	__u32 index = number >> 6;
	const volatile __u64 *word = bpf_map_lookup_elem(&filter4, &index);

	return word && *word >> (number & 63) & 1;
}

static __always_inline __u32 host4_in_table(__be32 address)
{
	__u32 host_order = bpf_ntohl(address), class_id;
	__u64 hash = hash4(host_order, 0), metadata = 0, unused;

	if (!may_be_host4(hash))
		return 0;
	class_id = search_line(line_of(hash), host_order, &metadata);
	if (class_id || !metadata)
		return class_id;
	class_id = search_line(line_of(hash4(host_order, 1)), host_order, &unused);
	if (class_id || !(metadata & NW_LINE_SPILL))
		return class_id;
	return host4_in_hash(address);
}

/* length << 16 | class of the longest prefix in the trie, 0 if none covers the address. */
static __always_inline __u32 prefix4_in_trie(__be32 address)
{
	struct nw_prefix4 key = { .length = 32, .address = address };
	__u32 *found = bpf_map_lookup_elem(&prefixes4, &key);

	return found ? *found : 0;
}

/* The longer of *best* and the longest prefix of one line that covers *address*; as above. */
static __always_inline __u32 search_long(__u32 index, __u32 address, __u32 best, __u64 *metadata)
{
	const volatile struct nw_line *line = bpf_map_lookup_elem(&long4, &index);

	if (!line)
		return best;
	*metadata |= line->metadata;
#pragma unroll
	for (int i = 0; i < NW_LINE_SLOTS; i++) {
		__u64 slot = line->slots[i];
		__u32 length = slot & 63; /* 0 in an empty slot, which so never is the longest */
		__u32 found = length << 16 | (slot >> 16 & 0xFFFF);

		if (((slot >> 32 ^ address) & 0xFFFFFFFF) >> (32 - length) == 0 && found > best)
			best = found;
	}
	return best;
}

static __always_inline __u32 long_line(__u32 address, int choice)
{
	return (hash4(address & 0xFFFFFF00, choice) >> nw_config.long_shift) & nw_config.long_mask;
}

static __always_inline __u32 prefix4_longer(__be32 address)
{
	__u32 host_order = bpf_ntohl(address), best, other;
	__u64 metadata = 0;

	best = search_long(long_line(host_order, 0), host_order, 0, &metadata);
	if (!metadata)
		return best & 0xFFFF;
	best = search_long(long_line(host_order, 1), host_order, best, &metadata);
	if (!(metadata & NW_LINE_SPILL))
		return best & 0xFFFF;
	other = prefix4_in_trie(address);
	return (other > best ? other : best) & 0xFFFF;
}

static __always_inline __u32 prefix4_in_table(__be32 address)
{
	__u32 net = bpf_ntohl(address) >> 8, index = net >> 2, class_id = 0;
	const volatile __u64 *word = bpf_map_lookup_elem(&nets4, &index);
	__u32 value = word ? *word >> ((net & 3) * 16) & 0xFFFF : 0;

	if (value & NW_NET_LONGER)
		class_id = prefix4_longer(address);
	return class_id ? class_id : value & NW_NET_CLASS;
}

/* Whether a listed prefix touches the address's /22. */
static __always_inline int may_be_in_prefix4(__be32 address)
{
	__u32 number = bpf_ntohl(address) >> 10, index = number >> 6;
	const volatile __u64 *word = bpf_map_lookup_elem(&bitmap, &index);

	return word && *word >> (number & 63) & 1;
}

static __always_inline __u32 lookup4_buckets(__be32 address)
{
	__u32 class_id = host4_in_table(address);

	if (!class_id && may_be_in_prefix4(address))
		class_id = prefix4_in_table(address);
	return class_id;
}

static __always_inline __u32 lookup4_classic(__be32 address, const struct nw_population *counts)
{
	__u32 class_id = 0;

	if (counts->hosts4)
		class_id = host4_in_hash(address);
	if (!class_id && counts->prefixes4)
		class_id = prefix4_in_trie(address) & 0xFFFF;
	return class_id;
}

static __always_inline __u32 lookup6_classic(const struct in6_addr *address,
					     const struct nw_population *counts)
{
	struct nw_prefix6 key = { .length = 128 };
	__u32 *found = NULL;

	__builtin_memcpy(key.address, address, sizeof(key.address));
	if (counts->hosts6)
		found = bpf_map_lookup_elem(&hosts6, &key.address);
	if (!found && counts->prefixes6)
		found = bpf_map_lookup_elem(&prefixes6, &key);
	return found ? *found & 0xFFFF : 0;
}

/* The class of the packet's source, 0 if no list covers it. */
static __always_inline __u32 lookup_source(const struct packet *packet)
{
	struct nw_population *counts;
	__u32 zero = 0;

	if (nw_config.engine == NW_ENGINE_BUCKETS) {
		if (packet->family == 4)
			return lookup4_buckets(packet->ip4->saddr);
		return lookup6_buckets(&packet->ip6->saddr);
	}
	counts = bpf_map_lookup_elem(&population, &zero);
	if (!counts)
		return 0;
	if (packet->family == 4)
		return lookup4_classic(packet->ip4->saddr, counts);
	return lookup6_classic(&packet->ip6->saddr, counts);
}

#endif
