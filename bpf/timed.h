// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Timed entries. They lie in the same tables as all others, so that precedence and cost are the same;
 * only their class says that it holds until an expiry of the address, and which class comes after it.
 * So a ban ends on time with nobody there to take it out, and nothing that is not timed pays for it.
 */
#ifndef NW_TIMED_H
#define NW_TIMED_H

#include "config.h"
#include "maps.h"

static __always_inline __u32 settle_class(__u32 class_id, const struct nw_expiry *expiry)
{
	/* An expiry that is missing is a fault of ours, and then a block holds and an allow does not. */
	__u64 allow_until = expiry ? expiry->allow_until : 0;
	__u64 block_until = expiry ? expiry->block_until : ~0ULL;
	__u64 now = bpf_ktime_get_ns();

#pragma unroll
	for (int i = 0; i < NW_TIMED_DEPTH; i++) {
		struct nw_class *class = bpf_map_lookup_elem(&classes, &class_id);
		__u64 until;

		if (!class || class->timed == NW_TIMED_NO)
			return class_id;
		until = class->timed == NW_TIMED_ALLOW ? allow_until : block_until;
		if (now < until)
			return class_id;
		class_id = class->rest;
		if (!class_id)
			return 0;
	}
	return class_id;
}

/* The class of an IPv4 source whose entry has this timed one; 0 if it is not listed any more. */
static __noinline __u32 settle4(__u32 class_id, __be32 address)
{
	struct nw_prefix4 key = { .length = 32, .address = address };
	struct nw_expiry *expiry = bpf_map_lookup_elem(&timed_hosts4, &address);

	if (!expiry)
		expiry = bpf_map_lookup_elem(&timed_prefixes4, &key);
	return settle_class(class_id, expiry);
}

/* The same for IPv6. */
static __noinline __u32 settle6(__u32 class_id, const struct nw_host6 *address)
{
	struct nw_prefix6 key = { .length = 128 };
	struct nw_expiry *expiry;

	if (!address)
		return class_id;
	__builtin_memcpy(key.address, address->address, sizeof(key.address));
	expiry = bpf_map_lookup_elem(&timed_hosts6, &key.address);
	if (!expiry)
		expiry = bpf_map_lookup_elem(&timed_prefixes6, &key);
	return settle_class(class_id, expiry);
}

#endif
