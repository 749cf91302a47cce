// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From frame to struct packet. Each helper moves the cursor over one header and answers a reason:
 * NW_REASON_DEFAULT to go on, anything else ends the parsing with that reason. Leniency here is a
 * bypass, so what the stack would refuse or read differently is a reason of its own.
 */
#ifndef NW_PARSE_H
#define NW_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "neurowall.h"

/* Keeps what hardly ever happens out of the way: behind the stack's own code the instruction cache is
 * cold, and each line of ours costs a miss.
 */
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define ETHERTYPE_EAPOL 0x888E
#define ETHERTYPE_SLOW 0x8809 /* IEEE 802.3 slow protocols: LACP */
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1FFF
#define IPV6_OFFSET_MASK 0xFFF8
#define IPV6_MORE_FRAGMENTS 0x0001
#define PROTOCOL_IPV6_MOBILITY 135
#define PROTOCOL_IPV6_HIP 139
#define PROTOCOL_IPV6_SHIM6 140

#define ICMP4_UNREACHABLE 3
#define ICMP4_SOURCE_QUENCH 4
#define ICMP4_REDIRECT 5
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_FIRST_INFORMATIONAL 128 /* RFC 4443: error messages are below */

/* As struct ethhdr, which is packed: clang would read its type byte by byte. */
struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 ethertype;
};

struct vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

struct extension_header { /* RFC 8200 section 4; AH counts in words, the others in 8 bytes */
	__u8 next;
	__u8 length;
	__be16 body;
	__be32 body2;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

struct packet {
	void *cursor; /* start of the next header */
	void *end; /* of the frame */
	struct iphdr *ip4; /* valid if family is 4 */
	struct ipv6hdr *ip6; /* valid if family is 6 */
	__u32 ifindex;
	__u32 l4_length; /* bytes of the IP payload from the L4 header on */
	__be16 ethertype; /* of the payload, behind the VLAN tags */
	__be16 source_port; /* TCP and UDP */
	__be16 destination_port;
	__u8 family; /* 4, 6, or 0 if not IP */
	__u8 protocol; /* behind the extension headers */
	__u8 icmp_type;
	__u8 fragment_first; /* first of several: its L4 header may be cut */
	__u8 fragment_later; /* no L4 header here */
	__u8 has_l4; /* the L4 header was read */
	__u8 is_plain; /* no VLAN tag, no IPv4 option, no IPv6 extension: nothing that could redirect it */
};

/* Whether an ICMP message reports what became of a packet, which it then holds. */
static __always_inline int is_error_type(__u8 family, __u8 type)
{
	if (family == 6)
		return type < ICMP6_FIRST_INFORMATIONAL;
	return type == ICMP4_UNREACHABLE || type == ICMP4_SOURCE_QUENCH || type == ICMP4_REDIRECT ||
	       type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER_PROBLEM;
}

/* Starts *packet*: Ethernet and VLAN tags, after which the cursor is at the payload. */
static __always_inline enum nw_reason parse_frame(void *data, void *end, struct packet *packet)
{
	struct ethernet_header *ethernet = data;

	packet->end = end;
	if (UNLIKELY((void *)(ethernet + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	packet->ethertype = ethernet->ethertype;
	packet->cursor = ethernet + 1;
	packet->is_plain = packet->ethertype == bpf_htons(ETH_P_IP) ||
			   packet->ethertype == bpf_htons(ETH_P_IPV6);

#pragma unroll
	for (int depth = 0; depth <= NW_VLAN_DEPTH; depth++) {
		struct vlan_tag *tag = packet->cursor;

		if (__builtin_expect(packet->ethertype != bpf_htons(ETH_P_8021Q) &&
					     packet->ethertype != bpf_htons(ETH_P_8021AD),
				     1))
			return NW_REASON_DEFAULT;
		if (UNLIKELY(depth == NW_VLAN_DEPTH))
			return NW_REASON_VLAN_DEPTH;
		if (UNLIKELY((void *)(tag + 1) > packet->end))
			return NW_REASON_TRUNCATED;
		packet->ethertype = tag->ethertype;
		packet->cursor = tag + 1;
	}
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_ethernet(struct xdp_md *ctx, struct packet *packet)
{
	packet->ifindex = ctx->ingress_ifindex;
	return parse_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);
}

static __always_inline enum nw_reason parse_ipv4(struct packet *packet)
{
	struct iphdr *ip = packet->cursor;
	__u32 header, total;
	__u16 fragment;

	if (UNLIKELY((void *)(ip + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (UNLIKELY(ip->version != 4 || header < sizeof(*ip) || total < header))
		return NW_REASON_MALFORMED_IPV4;
	/* Signed length, not pointer + total: the verifier loses packet bounds on the sum. */
	if (UNLIKELY(packet->end - packet->cursor < (long)total))
		return NW_REASON_TRUNCATED;
	fragment = bpf_ntohs(ip->frag_off);
	packet->ip4 = ip;
	packet->protocol = ip->protocol;
	packet->fragment_later = (fragment & IPV4_OFFSET_MASK) != 0;
	packet->fragment_first = !packet->fragment_later && (fragment & IPV4_MORE_FRAGMENTS);
	packet->l4_length = total - header;
	packet->is_plain &= header == sizeof(*ip);
	packet->cursor += header;
	if (UNLIKELY((fragment & IPV4_OFFSET_MASK) == 1 && ip->protocol == IPPROTO_TCP))
		return NW_REASON_FRAGMENT_OVERLAP;
	return NW_REASON_DEFAULT;
}

/*
 * 1 if the two are equal, else 0, without a branch. The verifier follows every path through the
 * unrolled walk below, and paths that differ in a constant never merge again: with branches the
 * eight rounds multiply to 0.8 of its million instructions, so the walk branches only to leave.
 */
static __always_inline __u64 equals(__u64 a, __u64 b)
{
	__u64 differs = a ^ b;

	barrier_var(differs); /* or clang turns this back into a branch */
	return (differs - 1) >> 63;
}

#define PROTOCOL_BIT(protocol) (1ULL << ((protocol)&63))

static __always_inline int is_extension(__u8 protocol)
{
	const __u64 below_64 = PROTOCOL_BIT(IPPROTO_HOPOPTS) | PROTOCOL_BIT(IPPROTO_ROUTING) |
			       PROTOCOL_BIT(IPPROTO_FRAGMENT) | PROTOCOL_BIT(IPPROTO_AH) |
			       PROTOCOL_BIT(IPPROTO_DSTOPTS);
	const __u64 from_128 = PROTOCOL_BIT(PROTOCOL_IPV6_MOBILITY) |
			       PROTOCOL_BIT(PROTOCOL_IPV6_HIP) | PROTOCOL_BIT(PROTOCOL_IPV6_SHIM6);
	__u64 bits = (below_64 & -equals(protocol >> 6, 0)) |
		     (from_128 & -equals(protocol >> 6, 2));

	return bits >> (protocol & 63) & 1;
}

/* One extension header at the cursor; its offset and flags go to *fragment* if it is a fragment. */
static __always_inline enum nw_reason parse_extension(struct packet *packet, __u16 *fragment)
{
	struct extension_header *header = packet->cursor;
	__u64 is_fragment = equals(packet->protocol, IPPROTO_FRAGMENT);
	__u64 is_authentication = equals(packet->protocol, IPPROTO_AH);
	__u64 units, length;

	if (UNLIKELY(packet->l4_length < sizeof(*header) || (void *)(header + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	/* A fragment header has 8 bytes and no length of its own, AH counts (units + 2) * 4. */
	units = header->length & (is_fragment - 1);
	length = ((units + 1) * 8 - (units & -is_authentication) * 4) & 0xFFF;
	*fragment |= bpf_ntohs(header->body) & -is_fragment;
	if (UNLIKELY(packet->l4_length < length))
		return NW_REASON_TRUNCATED;
	packet->protocol = header->next;
	packet->l4_length -= length;
	packet->cursor += length;
	return NW_REASON_DEFAULT;
}

/* Walk the chain until the L4 header, or the data of a later fragment. */
static __always_inline enum nw_reason parse_extensions(struct packet *packet, __u16 *fragment)
{
	enum nw_reason reason;

#pragma unroll
	for (int depth = 0; depth <= NW_EXTENSION_DEPTH; depth++) {
		if (*fragment & IPV6_OFFSET_MASK || !is_extension(packet->protocol))
			return NW_REASON_DEFAULT;
		if (UNLIKELY(depth == NW_EXTENSION_DEPTH))
			return NW_REASON_EXTENSION_DEPTH;
		if (depth && packet->protocol == IPPROTO_HOPOPTS) /* RFC 8200: only as the first */
			return NW_REASON_MALFORMED_IPV6;
		reason = parse_extension(packet, fragment);
		if (reason != NW_REASON_DEFAULT)
			return reason;
	}
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_ipv6(struct packet *packet)
{
	struct ipv6hdr *ip = packet->cursor;
	enum nw_reason reason;
	__u16 fragment = 0;

	if (UNLIKELY((void *)(ip + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	if (UNLIKELY(ip->version != 6))
		return NW_REASON_MALFORMED_IPV6;
	packet->cursor = ip + 1;
	packet->l4_length = bpf_ntohs(ip->payload_len);
	/* A jumbogram (payload length 0) never fits XDP; its extension header ends as truncated. */
	if (UNLIKELY(packet->end - packet->cursor < (long)packet->l4_length))
		return NW_REASON_TRUNCATED;
	packet->ip6 = ip;
	packet->protocol = ip->nexthdr;
	packet->is_plain &= !is_extension(ip->nexthdr);
	reason = parse_extensions(packet, &fragment);
	packet->fragment_later = (fragment & IPV6_OFFSET_MASK) != 0;
	packet->fragment_first = !packet->fragment_later && fragment & IPV6_MORE_FRAGMENTS;
	if (UNLIKELY(reason == NW_REASON_TRUNCATED && packet->fragment_first))
		return NW_REASON_FRAGMENT_TINY;
	if (reason != NW_REASON_DEFAULT)
		return reason;
	if (UNLIKELY((fragment & IPV6_OFFSET_MASK) == 8 && packet->protocol == IPPROTO_TCP))
		return NW_REASON_FRAGMENT_OVERLAP;
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_tcp(struct packet *packet)
{
	struct tcphdr *tcp = packet->cursor;
	__u32 header;

	if (UNLIKELY(packet->l4_length < sizeof(*tcp) || (void *)(tcp + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	header = tcp->doff * 4;
	if (UNLIKELY(header < sizeof(*tcp)))
		return NW_REASON_MALFORMED_TCP;
	if (UNLIKELY(header > packet->l4_length))
		return packet->fragment_first ? NW_REASON_TRUNCATED : NW_REASON_MALFORMED_TCP;
	packet->source_port = tcp->source;
	packet->destination_port = tcp->dest;
	packet->has_l4 = 1;
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_udp(struct packet *packet)
{
	struct udphdr *udp = packet->cursor;
	__u32 length;

	if (UNLIKELY(packet->l4_length < sizeof(*udp) || (void *)(udp + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	length = bpf_ntohs(udp->len);
	if (UNLIKELY(length < sizeof(*udp) ||
		     (length > packet->l4_length && !packet->fragment_first)))
		return NW_REASON_MALFORMED_UDP;
	packet->source_port = udp->source;
	packet->destination_port = udp->dest;
	packet->has_l4 = 1;
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_icmp(struct packet *packet)
{
	struct icmp_header *icmp = packet->cursor;

	if (UNLIKELY(packet->l4_length < sizeof(*icmp) || (void *)(icmp + 1) > packet->end))
		return NW_REASON_TRUNCATED;
	packet->icmp_type = icmp->type;
	packet->has_l4 = 1;
	return NW_REASON_DEFAULT;
}

static __always_inline enum nw_reason parse_l4(struct packet *packet)
{
	enum nw_reason reason = NW_REASON_DEFAULT;

	if (UNLIKELY(packet->fragment_later))
		return NW_REASON_DEFAULT;
	if (packet->protocol == IPPROTO_TCP)
		reason = parse_tcp(packet);
	else if (packet->protocol == IPPROTO_UDP)
		reason = parse_udp(packet);
	else if (packet->protocol == (packet->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		reason = parse_icmp(packet);
	if (UNLIKELY(reason == NW_REASON_TRUNCATED && packet->fragment_first))
		return NW_REASON_FRAGMENT_TINY;
	return reason;
}

/* The headers from IP on. Answers NW_REASON_DEFAULT if all were sound, and has filled *packet*. */
static __always_inline enum nw_reason parse_ip(struct packet *packet, int family)
{
	enum nw_reason reason;

	packet->family = family; /* before all else: a constant from here on */
	reason = family == 4 ? parse_ipv4(packet) : parse_ipv6(packet);
	return reason == NW_REASON_DEFAULT ? parse_l4(packet) : reason;
}

#endif
