// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What only nw_internal asks, on interfaces behind which our own hosts live: whether the source is one of them,
 * and, where no list decides by the source, what the lists say of the destination.
 */
#ifndef NW_INTERNAL_H
#define NW_INTERNAL_H

#include "config.h"
#include "decide.h"
#include "lists.h"
#include "maps.h"
#include "parse.h"
#include "spoof.h"
#include "timed.h"

/* Whether the source is in none of the interface's networks. */
static __always_inline int is_spoofed(const struct packet *packet)
{
	struct nw_network key = { .ifindex = packet->ifindex, .family = packet->family };

	if (packet->family == 4) {
		key.length = NW_NETWORK_BITS + 32;
		__builtin_memcpy(key.address, &packet->ip4->saddr, 4);
	} else {
		/* Every host has such an address, and what is sent from it within the link stays there. */
		if (is_link_local(&packet->ip6->saddr) &&
		    (is_link_local(&packet->ip6->daddr) || is_link_multicast(&packet->ip6->daddr)))
			return 0;
		key.length = NW_NETWORK_BITS + 128;
		__builtin_memcpy(key.address, &packet->ip6->saddr, 16);
	}
	return !bpf_map_lookup_elem(&networks, &key);
}

/* verdict << 16 | class, of a class that holds now. */
static __always_inline __u32 with_verdict(__u32 class_id)
{
	struct nw_class *class = bpf_map_lookup_elem(&classes, &class_id);

	/* As for sources: a class that was never defined is a fault of ours, and then nothing passes. */
	if (!class || !class->is_defined)
		return NW_VERDICT_DROP << 16 | class_id;
	return class->verdict << 16 | class_id;
}

static __always_inline int is_timed(__u32 class_id)
{
	struct nw_class *class = bpf_map_lookup_elem(&classes, &class_id);

	return class && class->timed != NW_TIMED_NO;
}

static __always_inline __u32 lookup4(__be32 address)
{
	struct nw_population *counts;
	__u32 zero = 0;

	if (nw_config.engine == NW_ENGINE_BUCKETS)
		return lookup4_buckets(address);
	counts = bpf_map_lookup_elem(&population, &zero);
	return counts ? lookup4_classic(address, counts) : 0;
}

static __always_inline __u32 lookup6(const struct in6_addr *address)
{
	struct nw_population *counts;
	__u32 zero = 0;

	if (nw_config.engine == NW_ENGINE_BUCKETS)
		return lookup6_buckets(address);
	counts = bpf_map_lookup_elem(&population, &zero);
	return counts ? lookup6_classic(address, counts) : 0;
}

#define UNLISTED (NW_VERDICT_NONE << 16)

/* Global, so that the verifier follows the tables once, not for each path that leads here. */
__noinline __u32 destination4(__be32 address)
{
	__u32 class_id = lookup4(address);

	if (class_id && is_timed(class_id))
		class_id = settle4(class_id, address);
	return class_id ? with_verdict(class_id) : UNLISTED;
}

/* The same; the address as two numbers. */
__noinline __u32 destination6(__u64 high, __u64 low)
{
	__be64 halves[2] = { bpf_cpu_to_be64(high), bpf_cpu_to_be64(low) };
	struct nw_host6 host;
	struct in6_addr address;
	__u32 class_id;

	__builtin_memcpy(&address, halves, sizeof(address));
	class_id = lookup6(&address);
	if (class_id && is_timed(class_id)) {
		__builtin_memcpy(&host, halves, sizeof(host));
		class_id = settle6(class_id, &host);
	}
	return class_id ? with_verdict(class_id) : UNLISTED;
}

/*
 * What the lists say of the destination: verdict << 16 | class. Not asked for what no list can mean: groups,
 * the link's own addresses, limited broadcast.
 */
static __always_inline __u32 destination_in_lists(const struct packet *packet)
{
	__be32 address;

	if (packet->family == 4) {
		address = packet->ip4->daddr;
		if ((address & bpf_htonl(0xF0000000)) == bpf_htonl(0xE0000000) ||
		    (address & bpf_htonl(0xFFFF0000)) == bpf_htonl(0xA9FE0000) ||
		    address == bpf_htonl(INADDR_BROADCAST))
			return UNLISTED;
		return destination4(address);
	}
	if (packet->ip6->daddr.s6_addr[0] == 0xFF || is_link_local(&packet->ip6->daddr))
		return UNLISTED;
	return destination6(upper_half(&packet->ip6->daddr), lower_half(&packet->ip6->daddr));
}

/* Whether it is what decide_unlisted() answers: neither essential, nor failsafe, nor listed. */
static __always_inline int is_left_to_stack(const struct decision *decision)
{
	__u8 reason = decision->reason;

	return reason == NW_REASON_DEFAULT || reason == NW_REASON_FRAGMENT ||
	       reason == NW_REASON_TUNNEL || reason == NW_REASON_ICMP_ERROR;
}

/* As decide_ip(), and what comes before and after it on an internal interface. */
static __always_inline struct decision decide_internal(const struct packet *packet,
						       __u32 *destination_class)
{
	struct decision decision;
	__u32 found;

	if (nw_config.networks && UNLIKELY(is_spoofed(packet)) &&
	    essential(packet) == NW_REASON_DEFAULT)
		return drop(NW_REASON_SPOOFED);
	decision = decide_ip(packet);
	if (!nw_config.destinations || !is_left_to_stack(&decision))
		return decision;
	found = destination_in_lists(packet);
	*destination_class = found & 0xFFFF;
	if (found >> 16 == NW_VERDICT_DROP) {
		decision.verdict = NW_VERDICT_DROP;
		decision.reason = NW_REASON_DESTINATION_BLOCK_LIST;
	} else if (found >> 16 == NW_VERDICT_PASS) {
		decision.reason = NW_REASON_DESTINATION_ALLOW_LIST;
	}
	return decision;
}

#endif
