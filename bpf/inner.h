// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The packet inside an ICMP error: one that our side sent, so its source is our end.
 */
#ifndef NW_INNER_H
#define NW_INNER_H

#include "options.h"
#include "parse.h"
#include "segment.h"

#define ICMP4_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128

/* The first eight bytes behind IP: ports, or type and identifier of an echo request. */
static __always_inline int read_inner_l4(void *l4, void *end, struct nw_flow_key *key)
{
	const __be16 *words = l4;

	if (l4 + 8 > end)
		return 0;
	if (key->protocol == IPPROTO_TCP || key->protocol == IPPROTO_UDP) {
		key->inside_port = words[0];
		key->outside_port = words[1];
		return 1;
	}
	if (key->protocol != (key->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) ||
	    *(__u8 *)l4 != (key->family == 4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST))
		return 0;
	key->inside_port = key->outside_port = words[2];
	return 1;
}

static __always_inline int read_inner4(void *at, void *end, struct nw_flow_key *key)
{
	const struct iphdr *ip = at;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 ||
	    ip->frag_off & bpf_htons(IPV4_OFFSET_MASK))
		return 0;
	key->inside[3] = ip->saddr;
	key->outside[3] = ip->daddr;
	key->protocol = ip->protocol;
	return read_inner_l4(at + ip->ihl * 4, end, key);
}

/* Without extension headers: they are rare, and what cannot be read is left to the stack. */
static __always_inline int read_inner6(void *at, void *end, struct nw_flow_key *key)
{
	const struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return 0;
	__builtin_memcpy(key->inside, &ip->saddr, 16);
	__builtin_memcpy(key->outside, &ip->daddr, 16);
	key->protocol = ip->nexthdr;
	return read_inner_l4((void *)(ip + 1), end, key);
}

/* The key of its flow; 0 if it is of a protocol that has none, or does not show. */
static __always_inline int read_inner(struct xdp_md *ctx, __u32 offset,
				      const struct segment *segment, struct nw_flow_key *key)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *at = data + (offset & L4_OFFSET_MASK) + sizeof(struct icmp_header);

	if (offset > L4_OFFSET_MASK)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	key->family = segment->family;
	key->zone = segment->zone;
	return segment->family == 4 ? read_inner4(at, end, key) : read_inner6(at, end, key);
}

#endif
