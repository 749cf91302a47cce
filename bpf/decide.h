// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The only place that chooses; for internal interfaces internal.h adds to it. Order: malformed, essential,
 * spoofed, failsafe, lists, then the stack, where nftables decides the rest. ARCHITECTURE.md has the table of
 * essential traffic.
 */
#ifndef NW_DECIDE_H
#define NW_DECIDE_H

#include "config.h"
#include "lists.h"
#include "maps.h"
#include "parse.h"
#include "spoof.h"
#include "timed.h"

#define SECOND_NS 1000000000ULL
#define ICMP6_MLD_FIRST 130
#define ICMP6_MLD_LAST 132
#define ICMP6_MLD2_REPORT 143
#define ICMP6_ND_FIRST 133
#define ICMP6_ND_LAST 137

struct decision {
	__u8 verdict; /* enum nw_verdict */
	__u8 reason; /* enum nw_reason */
	__u32 class_id; /* of the list entry that matched, else 0 */
};

static __always_inline struct decision pass(enum nw_reason reason)
{
	return (struct decision){ .verdict = NW_VERDICT_PASS, .reason = reason };
}

static __always_inline struct decision drop(enum nw_reason reason)
{
	return (struct decision){ .verdict = NW_VERDICT_DROP, .reason = reason };
}

static __always_inline struct decision decide_not_ip(const struct packet *packet)
{
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_ARP):
		return pass(NW_REASON_ARP);
	case bpf_htons(ETHERTYPE_SLOW):
		return pass(NW_REASON_LACP);
	case bpf_htons(ETHERTYPE_EAPOL):
		return pass(NW_REASON_EAPOL);
	}
	if (nw_config.unparsed_verdict == NW_VERDICT_DROP)
		return drop(NW_REASON_UNPARSED_DROP);
	return pass(NW_REASON_UNPARSED_PASS);
}

static __always_inline int is_link_local(const struct in6_addr *address)
{
	return (address->s6_addr32[0] & bpf_htonl(0xFFC00000)) == bpf_htonl(0xFE800000);
}

static __always_inline int is_unspecified(const struct in6_addr *address)
{
	return !(address->s6_addr32[0] | address->s6_addr32[1] | address->s6_addr32[2] |
		 address->s6_addr32[3]);
}

static __always_inline int is_link_multicast(const struct in6_addr *address)
{
	return address->s6_addr16[0] == bpf_htons(0xFF02);
}

/* DHCP that no router forwards: broadcast for IPv4, link-local for IPv6. */
static __always_inline int is_local_dhcp(const struct packet *packet)
{
	__be16 source = packet->source_port, destination = packet->destination_port;

	if (packet->protocol != IPPROTO_UDP || !packet->has_l4)
		return 0;
	if (packet->family == 4)
		return UNLIKELY(packet->ip4->daddr == bpf_htonl(INADDR_BROADCAST)) &&
		       (source == bpf_htons(67) || source == bpf_htons(68)) &&
		       (destination == bpf_htons(67) || destination == bpf_htons(68));
	return (source == bpf_htons(546) || source == bpf_htons(547)) &&
	       (destination == bpf_htons(546) || destination == bpf_htons(547)) &&
	       is_link_local(&packet->ip6->saddr) &&
	       (is_link_local(&packet->ip6->daddr) || is_link_multicast(&packet->ip6->daddr));
}

/* NW_REASON_DEFAULT if the packet is not essential to the link itself. */
static __always_inline enum nw_reason essential(const struct packet *packet)
{
	__u8 type = packet->icmp_type;

	if (is_local_dhcp(packet))
		return NW_REASON_DHCP;
	if (packet->family != 6 || packet->protocol != IPPROTO_ICMPV6 || !packet->has_l4)
		return NW_REASON_DEFAULT;
	if (type >= ICMP6_ND_FIRST && type <= ICMP6_ND_LAST && packet->ip6->hop_limit == 255)
		return NW_REASON_NEIGHBOUR_DISCOVERY;
	if (((type >= ICMP6_MLD_FIRST && type <= ICMP6_MLD_LAST) || type == ICMP6_MLD2_REPORT) &&
	    packet->ip6->hop_limit == 1 &&
	    (is_link_local(&packet->ip6->saddr) || is_unspecified(&packet->ip6->saddr)))
		return NW_REASON_MULTICAST_LISTENER;
	return NW_REASON_DEFAULT;
}

/* Within this second's allowance. Windows are fixed, so a burst across the border may be twice. */
static __always_inline int failsafe_admits(struct nw_failsafe *entry)
{
	__u64 now = bpf_ktime_get_ns();

	int is_over = now - entry->window_start >= SECOND_NS;

	if (nw_config.dry_run)
		return is_over || entry->window_packets < entry->packets_per_second;
	if (is_over) {
		entry->window_start = now;
		entry->window_packets = 0;
	}
	if (entry->window_packets >= entry->packets_per_second)
		return 0;
	__sync_fetch_and_add(&entry->window_packets, 1);
	return 1;
}

static __always_inline int failsafe_source(const struct nw_failsafe *entry, const __u32 *source)
{
#pragma unroll
	for (__u32 i = 0; i < NW_FAILSAFE_PREFIXES; i++) {
		const __u32 *prefix = (const __u32 *)entry->source[i];
		const __u32 *mask = (const __u32 *)entry->mask[i];
		__u32 differs = 0;

		if (i >= entry->prefixes)
			return 0;
		for (int word = 0; word < 4; word++)
			differs |= (source[word] & mask[word]) ^ prefix[word];
		if (!differs)
			return 1;
	}
	return 0;
}

static __always_inline int is_failsafe(const struct packet *packet)
{
	struct nw_failsafe_key key = { .ifindex = packet->ifindex,
				       .port = packet->destination_port,
				       .family = packet->family };
	struct nw_failsafe *entry;
	__u32 source[4] = {};

	/* A tag belongs to another interface than the one named, an option may route it on. */
	if (packet->protocol != IPPROTO_TCP || !packet->has_l4 || !packet->is_plain)
		return 0;
	if (packet->family == 4) {
		__builtin_memcpy(&key.address[12], &packet->ip4->daddr, 4);
		source[3] = packet->ip4->saddr;
	} else {
		__builtin_memcpy(key.address, &packet->ip6->daddr, 16);
		__builtin_memcpy(source, &packet->ip6->saddr, 16);
	}
	entry = bpf_map_lookup_elem(&failsafe, &key);
	return entry && failsafe_source(entry, source) && failsafe_admits(entry);
}

static __always_inline int is_icmp_error(const struct packet *packet)
{
	return packet->has_l4 &&
	       packet->protocol == (packet->family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
	       is_error_type(packet->family, packet->icmp_type);
}

/* What nothing above decided goes to the stack, under the reason that says what was not seen. */
static __always_inline struct decision decide_unlisted(const struct packet *packet)
{
	if (UNLIKELY(packet->fragment_later))
		return pass(NW_REASON_FRAGMENT);
	if (UNLIKELY(packet->protocol == IPPROTO_GRE || packet->protocol == IPPROTO_IPIP ||
		     packet->protocol == IPPROTO_IPV6))
		return pass(NW_REASON_TUNNEL);
	if (UNLIKELY(is_icmp_error(packet)))
		return pass(NW_REASON_ICMP_ERROR);
	return pass(NW_REASON_DEFAULT);
}

/* The class that decides for a source: of a timed one the first of its chain whose time is not over. */
static __always_inline __u32 settle(const struct packet *packet, __u32 class_id)
{
	struct nw_host6 address;

	if (packet->family == 4)
		return settle4(class_id, packet->ip4->saddr);
	__builtin_memcpy(address.address, &packet->ip6->saddr, sizeof(address.address));
	return settle6(class_id, &address);
}

/*
 * The same class, but not as a value that waits for the table: in a flood the class is that of the packet
 * before, the comparison is predicted, and what follows goes on with the value of last_class while the
 * line of the table is still on its way from memory. The second load is what cuts the dependence: 10 to
 * 17 ns a dropped packet, measured as one class decides all of them.
 */
static __always_inline __u32 predicted_class(__u32 class_id)
{
	__u32 zero = 0;
	volatile __u64 *last = bpf_map_lookup_elem(&last_class, &zero);

	if (!last)
		return class_id;
	if (UNLIKELY(*last != class_id)) {
		if (!nw_config.dry_run)
			*last = class_id;
		return class_id;
	}
	return *last;
}

static __always_inline struct decision decide_listed(const struct packet *packet, __u32 class_id)
{
	struct nw_class *class = bpf_map_lookup_elem(&classes, &class_id);
	struct decision decision = drop(NW_REASON_BLOCK_LIST);

	if (class && UNLIKELY(class->timed != NW_TIMED_NO)) {
		class_id = settle(packet, class_id);
		if (!class_id)
			return decide_unlisted(packet);
		class = bpf_map_lookup_elem(&classes, &class_id);
	}
	/* A class that was never defined is a fault of ours, and then the listed source stays out. */
	if (class && UNLIKELY(class->is_defined && class->verdict != NW_VERDICT_DROP)) {
		if (class->verdict == NW_VERDICT_PASS)
			decision = pass(NW_REASON_ALLOW_LIST);
		else if (class->verdict == NW_VERDICT_NONE)
			decision = decide_unlisted(packet);
	}
	decision.class_id = class_id;
	return decision;
}

static __always_inline struct decision decide_ip(const struct packet *packet)
{
	enum nw_reason reason = essential(packet);
	__u32 class_id;

	if (UNLIKELY(reason != NW_REASON_DEFAULT))
		return pass(reason);
	if (ORIGINS) {
		reason = judge_origin(packet);
		if (UNLIKELY(reason != NW_REASON_DEFAULT))
			return drop(reason);
	}
	if (nw_config.failsafe && is_failsafe(packet))
		return pass(NW_REASON_FAILSAFE);
	class_id = lookup_source(packet);
	if (class_id)
		return decide_listed(packet, predicted_class(class_id));
	return decide_unlisted(packet);
}

#endif
