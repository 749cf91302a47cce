// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Sources that cannot come from where they come: martians, which no host can have, by a few compares; the
 * gateway's own addresses and what lives behind other zones (spoofed), and special-purpose space (bogons), by a
 * trie that only those few meet whose first byte, or hash of an IPv6 /24, userspace has marked in `origins`.
 */
#ifndef NW_SPOOF_H
#define NW_SPOOF_H

#include "config.h"
#include "maps.h"
#include "parse.h"

#define ORIGINS (nw_config.spoofing || nw_config.bogons)
#define ORIGIN6_FACTOR 0x9E3779B1U /* of the hash: 2^32 by the golden ratio */

static __always_inline __u64 upper_half(const struct in6_addr *address)
{
	return (__u64)bpf_ntohl(address->s6_addr32[0]) << 32 | bpf_ntohl(address->s6_addr32[1]);
}

static __always_inline __u64 lower_half(const struct in6_addr *address)
{
	return (__u64)bpf_ntohl(address->s6_addr32[2]) << 32 | bpf_ntohl(address->s6_addr32[3]);
}

/*
 * Why an address cannot come from there, NW_REASON_DEFAULT if nothing is known against it. It is given as two
 * numbers, IPv4 in the upper half of the first. Global: hardly ever called, and its key lies on no caller's stack.
 */
__noinline __u32 foreign_reason(__u32 ifindex, __u32 family, __u64 high, __u64 low)
{
	__be64 halves[2] = { bpf_cpu_to_be64(high), bpf_cpu_to_be64(low) };
	struct nw_network key = { .ifindex = ifindex, .family = family | NW_FOREIGN };
	__u32 *reason;

	key.length = NW_NETWORK_BITS + (family == 4 ? 32 : 128);
	__builtin_memcpy(key.address, halves, sizeof(key.address));
	reason = bpf_map_lookup_elem(&networks, &key);
	return reason ? *reason : NW_REASON_DEFAULT;
}

/* 0/8, 127/8, and from 224/3 on: this network, loopback, groups, reserved, limited broadcast. */
static __always_inline int is_martian4(__u8 first)
{
	return first == 0 || first == 127 || first >= 224;
}

/* ::, ::1, ::ffff:0:0/96 (IPv4-mapped, RFC 4291) and groups. */
static __always_inline int is_martian6(const struct in6_addr *address)
{
	const __be32 *words = address->s6_addr32;

	if (address->s6_addr[0] == 0xFF)
		return 1;
	if (words[0] | words[1])
		return 0;
	return words[2] == bpf_htonl(0xFFFF) || (words[2] == 0 && (words[3] & ~bpf_htonl(1)) == 0);
}

/* Global unicast (2000::/3) by the hash of its /24, what is few by its first byte; of the first 32 bits. */
static __always_inline __u32 origin_bit6(__u32 word)
{
	return word >> 29 == 1 ? (word >> 8) * ORIGIN6_FACTOR >> 24 : word >> 24;
}

/* Whether the trie may have something to say of a source with this *bit* in one family's half of the marks. */
static __always_inline int is_marked_origin(__u32 family, __u32 bit)
{
	struct nw_origins *marks;
	__u32 zero = 0;

	marks = bpf_map_lookup_elem(&origins, &zero);
	if (!marks)
		return 1;
	return (family == 4 ? marks->first4 : marks->hash6)[bit >> 6] >> (bit & 63) & 1;
}

/* Why the source cannot come from there, NW_REASON_DEFAULT if it can. */
static __always_inline enum nw_reason judge_origin(const struct packet *packet)
{
	__u32 bit;

	if (packet->family == 4) {
		bit = *(const __u8 *)&packet->ip4->saddr;
		if (nw_config.spoofing && UNLIKELY(is_martian4(bit)))
			return NW_REASON_MARTIAN;
	} else {
		bit = origin_bit6(bpf_ntohl(packet->ip6->saddr.s6_addr32[0]));
		if (nw_config.spoofing && UNLIKELY(is_martian6(&packet->ip6->saddr)))
			return NW_REASON_MARTIAN;
	}
	if (!UNLIKELY(is_marked_origin(packet->family, bit)))
		return NW_REASON_DEFAULT;
	if (packet->family == 4)
		return foreign_reason(packet->ifindex, 4,
				      (__u64)bpf_ntohl(packet->ip4->saddr) << 32, 0);
	return foreign_reason(packet->ifindex, 6, upper_half(&packet->ip6->saddr),
			      lower_half(&packet->ip6->saddr));
}

#endif
