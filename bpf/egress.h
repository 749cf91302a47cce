// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What leaves by an external interface, behind source NAT. Flows are made here and nowhere else: an outgoing SYN, our
 * SYN-ACK, UDP, an echo request; and TCP in mid-stream, since who may send that may send a SYN as well. So a flow
 * that was lost, or began before this program, is known again as soon as our end says something.
 *
 * The frame comes from our own stack and is only read. It may be a super-packet (GSO), whose IP length may be 0 (BIG
 * TCP); a VLAN tag may be beside the frame or in it.
 */
#ifndef NW_EGRESS_H
#define NW_EGRESS_H

#include "config.h"
#include "flowtable.h"
#include "inner.h"
#include "maps.h"
#include "options.h"
#include "segment.h"

#define TC_NEXT (-1) /* TCX_NEXT, and TC_ACT_UNSPEC of cls_bpf: the packet goes on */
#define EGRESS_LINEAR \
	192 /* bytes that are put into one piece at most: headers with options and extensions */

static __always_inline int parse_leaving_ip(struct packet *packet, __u32 left)
{
	enum nw_reason reason = NW_REASON_DEFAULT;
	__u16 fragment = 0;
	__u32 length;

	if (packet->ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet->cursor;

		if ((void *)(ip + 1) > packet->end || ip->ihl < 5)
			return 0;
		fragment = bpf_ntohs(ip->frag_off);
		length = bpf_ntohs(ip->tot_len);
		packet->family = 4;
		packet->ip4 = ip;
		packet->protocol = ip->protocol;
		packet->fragment_later = (fragment & IPV4_OFFSET_MASK) != 0;
		packet->fragment_first = !packet->fragment_later && fragment & IPV4_MORE_FRAGMENTS;
		packet->l4_length = (length ? length : left) - ip->ihl * 4;
		packet->cursor += ip->ihl * 4;
	} else {
		struct ipv6hdr *ip = packet->cursor;

		if (packet->ethertype != bpf_htons(ETH_P_IPV6) || (void *)(ip + 1) > packet->end)
			return 0;
		length = bpf_ntohs(ip->payload_len);
		packet->family = 6;
		packet->ip6 = ip;
		packet->protocol = ip->nexthdr;
		packet->l4_length = length ? length : left - sizeof(*ip);
		packet->cursor = ip + 1;
		reason = parse_extensions(packet, &fragment);
		packet->fragment_later = (fragment & IPV6_OFFSET_MASK) != 0;
		packet->fragment_first = !packet->fragment_later && fragment & IPV6_MORE_FRAGMENTS;
	}
	return reason == NW_REASON_DEFAULT && parse_l4(packet) == NW_REASON_DEFAULT &&
	       packet->has_l4;
}

/* As a segment whose key is that of the flow: the peer, which is the destination, comes first. */
static __always_inline void turn_round(struct segment *segment)
{
	__be16 port = segment->source_port;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__be32 word = segment->source[i];

		segment->source[i] = segment->destination[i];
		segment->destination[i] = word;
	}
	segment->source_port = segment->destination_port;
	segment->destination_port = port;
}

/*
 * Fills *segment* from a frame that leaves; 0 if it can have no flow. Its bytes are those of the IP packets that
 * become of it, `behind` is the offset of the transport header.
 */
static __noinline int read_leaving(struct __sk_buff *ctx, struct segment *segment)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet packet = {};
	__u32 start, headers;

	if (parse_frame(data, end, &packet) != NW_REASON_DEFAULT)
		return 0;
	start = packet.cursor - data;
	if (!parse_leaving_ip(&packet, ctx->len - start))
		return 0;
	segment_of(&packet, segment);
	segment->behind = packet.cursor - data;
	segment->bytes = ctx->len - start;
	if (ctx->gso_segs > 1 && segment->data) {
		headers = segment->bytes - segment->data;
		segment->bytes += (ctx->gso_segs - 1) * headers;
	}
	turn_round(segment);
	return 1;
}

static __always_inline void count_out(struct __sk_buff *ctx, struct nw_flow *flow,
				      const struct segment *segment, __u64 now)
{
	__u32 packets = ctx->gso_segs;

	__sync_fetch_and_add(&flow->packets_out, packets ? packets : 1);
	__sync_fetch_and_add(&flow->bytes_out, segment->bytes);
	touch(flow, now);
}

/* An empty flow to be filled, NULL if none may be inserted now. */
static __always_inline struct nw_flow *begin_flow(struct __sk_buff *ctx, struct segment *segment,
						  struct nw_flow_control *control, __u32 state,
						  __u64 now)
{
	struct flow_scratch *made = scratch();
	__u32 packets = ctx->gso_segs;

	if (!made || !admits_new(control, state, now))
		return NULL;
	__builtin_memset(&made->flow, 0, sizeof(made->flow));
	made->flow.state = state;
	made->flow.ifindex = ctx->ifindex;
	made->flow.seen = made->flow.began = now;
	made->flow.packets_out = packets ? packets : 1;
	made->flow.bytes_out = segment->bytes;
	return &made->flow;
}

/*
 * The highest number that our end sent. Two CPUs may send at once, and the lower must not win: the answer to the
 * higher would be dropped. After three lost races the fourth gives up, and the next packet makes good for it.
 */
static __always_inline int try_advance(__u64 *next, __u32 end)
{
	__u64 known = *(volatile __u64 *)next;

	return !is_after(end, known) ||
	       __sync_val_compare_and_swap(next, known, (__u64)end) == known;
}

static __always_inline void advance(__u64 *next, __u32 end)
{
	if (!try_advance(next, end) && !try_advance(next, end) && !try_advance(next, end))
		try_advance(next, end);
}

/* What a packet of our end says of the numbers that the peer may use. */
static __always_inline void allow_by(struct nw_flow *flow, const struct segment *segment)
{
	__u32 acked = segment->acknowledgement;
	__u32 window = scaled(segment->window, flow->inside_scale);

	if (is_after(acked, flow->outside_acked))
		flow->outside_acked = acked;
	if (is_after(acked + window, flow->outside_limit))
		flow->outside_limit = acked + window;
	if (window > flow->inside_window)
		flow->inside_window = window;
}

/* The numbers of a flow whose beginning was not seen; the scales are unknown, so windows are taken for large. */
static __always_inline void take_numbers(struct nw_flow *flow, const struct segment *segment)
{
	flow->inside_scale = flow->outside_scale = NW_SCALE_MAX;
	flow->inside_next = end_of(segment);
	flow->inside_first = segment->sequence;
	flow->inside_window = scaled(segment->window, NW_SCALE_MAX);
	flow->outside_next = flow->outside_acked = segment->acknowledgement;
	flow->outside_limit = flow->outside_acked + flow->inside_window;
	flow->outside_window = 1U << 30;
	barrier();
	flow->is_numbered = 1; /* last: ingress asks for it first */
}

static __always_inline void update_open(struct __sk_buff *ctx, struct nw_flow *flow,
					const struct segment *segment, __u64 now)
{
	__u8 flags = segment->tcp_flags;
	__u32 before = state_of(flow);

	if (UNLIKELY(flags & TCP_RST)) {
		flow->was_reset = RESET_BY_US;
	} else if (UNLIKELY(!flow->is_numbered)) {
		take_numbers(flow, segment);
	} else {
		advance(&flow->inside_next, end_of(segment));
		allow_by(flow, segment);
	}
	if (UNLIKELY(flags & TCP_FIN))
		flow->inside_closed = 1;
	if (UNLIKELY(flags & (TCP_RST | TCP_FIN)))
		tell_end(flow, before);
	count_out(ctx, flow, segment, now);
}

static __always_inline void pick_up(struct __sk_buff *ctx, struct segment *segment,
				    struct nw_flow_control *control, __u64 now)
{
	struct nw_flow *flow;

	if ((segment->tcp_flags & (TCP_ACK | TCP_RST)) != TCP_ACK)
		return;
	flow = begin_flow(ctx, segment, control, NW_FLOW_ADOPTED, now);
	if (!flow)
		return;
	take_numbers(flow, segment);
	flow->inside_closed = !!(segment->tcp_flags & TCP_FIN);
	note_update(bpf_map_update_elem(&flows, segment, flow, BPF_ANY), NW_FLOW_PICKED_UP, control,
		    now);
}

/* Our SYN-ACK is the answer to a SYN that was not recorded, or, if our own SYN is on its way, to the peer's. */
static __always_inline void note_syn_ack(struct nw_flow *flow, const struct segment *segment)
{
	flow->outside_next = flow->outside_acked = segment->acknowledgement;
	flow->outside_limit = segment->acknowledgement + segment->window;
	/* The peer's own scale was in its SYN: it is there if ours is. */
	flow->outside_scale = flow->inside_scale == NW_SCALE_NONE ? NW_SCALE_NONE : NW_SCALE_MAX;
	barrier();
	flow->state = NW_FLOW_SYN_RECEIVED;
}

/* A SYN or SYN-ACK that leaves, which is not of an open flow. */
static __always_inline void open_flow(struct __sk_buff *ctx, struct segment *segment,
				      struct nw_flow_control *control, int replaces, __u64 now)
{
	struct nw_flow *flow = bpf_map_lookup_elem(&half_flows, segment);
	int is_syn_ack = segment->tcp_flags & TCP_ACK;

	if (flow && is_live(flow, control, now) && !flow->was_reset &&
	    flow->inside_first == segment->sequence) {
		if (is_syn_ack)
			note_syn_ack(flow, segment);
		advance(&flow->inside_next, end_of(segment));
		count_out(ctx, flow, segment, now);
		return;
	}
	flow = begin_flow(ctx, segment, control, NW_FLOW_SYN_SENT, now);
	if (!flow)
		return;
	flow->inside_first = segment->sequence;
	flow->inside_next = end_of(segment);
	flow->inside_window = segment->window;
	flow->replaces = replaces;
	flow->inside_scale =
		window_scale((void *)(long)ctx->data, (void *)(long)ctx->data_end, segment->behind);
	if (is_syn_ack)
		note_syn_ack(flow, segment);
	note_update(bpf_map_update_elem(&half_flows, segment, flow, BPF_ANY), NW_FLOW_INSERTED,
		    control, now);
}

static __always_inline void record_opening(struct __sk_buff *ctx, struct segment *segment,
					   struct nw_flow_control *control, struct nw_flow *known,
					   __u64 now)
{
	int replaces = 0;

	if (known) {
		if (is_live(known, control, now)) {
			if (known->inside_first == segment->sequence && !known->was_reset) {
				count_out(ctx, known, segment, now); /* sent again */
				return;
			}
			replaces = state_of(known) <= NW_FLOW_ESTABLISHED;
		}
		bpf_map_delete_elem(&flows, segment);
	}
	open_flow(ctx, segment, control, replaces, now);
}

static __always_inline void record_tcp(struct __sk_buff *ctx, struct segment *segment,
				       struct nw_flow_control *control, __u64 now)
{
	struct nw_flow *flow = bpf_map_lookup_elem(&flows, segment);
	__u8 flags = segment->tcp_flags;

	if (flags & TCP_SYN && !(flags & (TCP_FIN | TCP_RST))) {
		record_opening(ctx, segment, control, flow, now);
		return;
	}
	if (flow && is_live(flow, control, now)) {
		update_open(ctx, flow, segment, now);
		return;
	}
	flow = bpf_map_lookup_elem(&half_flows, segment);
	if (flow && is_live(flow, control, now) &&
	    (flow->state == NW_FLOW_SYN_RECEIVED || flags & TCP_RST)) {
		if (flags & TCP_RST)
			flow->was_reset = RESET_BY_US;
		else
			advance(&flow->inside_next,
				end_of(segment)); /* data before the ACK: RFC 7413 */
		count_out(ctx, flow, segment, now);
		return;
	}
	pick_up(ctx, segment, control, now);
}

static __always_inline void record_other(struct __sk_buff *ctx, struct segment *segment,
					 struct nw_flow_control *control, __u32 state, __u64 now)
{
	struct nw_flow *flow = bpf_map_lookup_elem(&half_flows, segment);

	if (flow && is_live(flow, control, now)) {
		count_out(ctx, flow, segment, now);
		return;
	}
	flow = begin_flow(ctx, segment, control, state, now);
	if (flow)
		note_update(bpf_map_update_elem(&half_flows, segment, flow, BPF_ANY),
			    NW_FLOW_INSERTED, control, now);
}

static __always_inline int is_echo_request(const struct segment *segment)
{
	return segment->icmp_type ==
	       (segment->family == 4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST);
}

static __always_inline void record_egress(struct __sk_buff *ctx)
{
	struct nw_flow_control *control = flow_settings();
	__u32 zero = 0, length = ctx->len;
	struct segment *segment;
	__u64 now;

	segment = bpf_map_lookup_elem(&segments, &zero);
	if (!control || !segment)
		return;
	if (!read_leaving(ctx, segment)) {
		/* Headers may go on where data lies apart. To pull them first would copy the data of every frame. */
		if (ctx->data_end - ctx->data >= EGRESS_LINEAR ||
		    ctx->data_end - ctx->data >= length)
			return;
		if (bpf_skb_pull_data(ctx, length < EGRESS_LINEAR ? length : EGRESS_LINEAR) ||
		    !read_leaving(ctx, segment))
			return;
	}
	now = bpf_ktime_get_coarse_ns();
	if (segment->protocol == IPPROTO_TCP)
		record_tcp(ctx, segment, control, now);
	else if (segment->protocol == IPPROTO_UDP)
		record_other(ctx, segment, control, NW_FLOW_UDP, now);
	else if (is_echo_request(segment))
		record_other(ctx, segment, control, NW_FLOW_ICMP, now);
}

#endif
