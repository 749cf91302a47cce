// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A packet as flows, limits and events see it: both families alike, its transport header read.
 */
#ifndef NW_SEGMENT_H
#define NW_SEGMENT_H

#include <stddef.h>

#include "config.h"
#include "parse.h"

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

/* It begins with the key of its flow, as a packet from outside has it: see struct nw_flow_key. */
struct segment {
	__be32 source[4]; /* IPv4 in the last word, the rest zero */
	__be32 destination[4];
	__be16 source_port; /* TCP and UDP; the identifier of an ICMP echo, in both */
	__be16 destination_port;
	__u8 protocol; /* behind the extension headers */
	__u8 family; /* 4 or 6 */
	__u16 pad;
	__u32 zone; /* of the interface */
	__u32 ifindex;
	__u32 bytes; /* of the IP packet */
	__u32 behind; /* bytes of the frame from the transport header on */
	__u32 sequence; /* TCP, as numbers */
	__u32 acknowledgement;
	__u32 data; /* bytes behind the TCP header */
	__u16 window; /* TCP, not scaled */
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 has_l4; /* the transport header was read */
	__u8 is_fragment; /* first or later */
	__u8 flow; /* enum flow_answer */
	__u8 is_proven; /* set by flow_of(): of a TCP flow whose source proved that it is there */
};

_Static_assert(offsetof(struct segment, zone) == offsetof(struct nw_flow_key, zone) &&
		       offsetof(struct segment, protocol) == offsetof(struct nw_flow_key, protocol),
	       "a segment begins with the key of its flow");

static __always_inline void read_addresses(const struct packet *packet, struct segment *segment)
{
	if (packet->family == 4) {
		segment->source[3] = packet->ip4->saddr;
		segment->destination[3] = packet->ip4->daddr;
		segment->bytes = bpf_ntohs(packet->ip4->tot_len);
		return;
	}
	__builtin_memcpy(segment->source, &packet->ip6->saddr, 16);
	__builtin_memcpy(segment->destination, &packet->ip6->daddr, 16);
	segment->bytes = bpf_ntohs(packet->ip6->payload_len) + sizeof(struct ipv6hdr);
}

/* What is left to read of a TCP header that parse_tcp() found sound. */
static __always_inline void read_tcp(const struct packet *packet, struct segment *segment)
{
	const struct tcphdr *tcp = packet->cursor;

	if ((void *)(tcp + 1) > packet->end)
		return;
	segment->sequence = bpf_ntohl(tcp->seq);
	segment->acknowledgement = bpf_ntohl(tcp->ack_seq);
	segment->window = bpf_ntohs(tcp->window);
	segment->tcp_flags = ((const __u8 *)tcp)[13];
	segment->data = packet->l4_length - tcp->doff * 4;
}

static __always_inline void read_echo(const struct packet *packet, struct segment *segment)
{
	const struct icmp_header *icmp = packet->cursor;

	if ((void *)(icmp + 1) > packet->end)
		return;
	segment->source_port = segment->destination_port = *(const __be16 *)&icmp->rest;
}

/* Of a parsed IP packet. */
static __always_inline void segment_of(const struct packet *packet, struct segment *segment)
{
	__builtin_memset(segment, 0, sizeof(*segment));
	read_addresses(packet, segment);
	segment->zone = nw_config.zone;
	segment->ifindex = packet->ifindex;
	segment->behind = packet->end - packet->cursor;
	segment->source_port = packet->source_port;
	segment->destination_port = packet->destination_port;
	segment->family = packet->family;
	segment->protocol = packet->protocol;
	segment->icmp_type = packet->icmp_type;
	segment->has_l4 = packet->has_l4;
	segment->is_fragment = packet->fragment_first | packet->fragment_later;
	if (!packet->has_l4)
		return;
	if (packet->protocol == IPPROTO_TCP)
		read_tcp(packet, segment);
	else if (packet->protocol != IPPROTO_UDP)
		read_echo(packet, segment);
}

#endif
