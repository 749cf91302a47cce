// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Flows: connections that the protected side has a part in, and what of the others' packets belongs to them. What
 * comes in only looks up and updates; flows are made by what leaves, see egress.h.
 *
 * Every bound on the peer's numbers comes from what our own end sent: what it acknowledged, and the window that it
 * offered. So nothing that an outsider sends moves the bounds, and a forged segment that is by chance inside them
 * passes but does not harm the flow.
 */
#ifndef NW_FLOWS_H
#define NW_FLOWS_H

#include "config.h"
#include "flowtable.h"
#include "inner.h"
#include "maps.h"
#include "options.h"
#include "segment.h"

#define ICMP4_ECHO_REPLY 0
#define ICMP6_ECHO_REPLY 129

/* What the flows say of a packet that comes in. */
enum flow_answer {
	FLOW_UNKNOWN = 0, /* of no flow, and it may go on */
	FLOW_KNOWN,
	FLOW_OUT_OF_STATE, /* of no flow, and it is not what may begin one */
	FLOW_BAD_SEQUENCE, /* of a flow, but its numbers cannot be the peer's */
};

static __always_inline __u32 offset_of_l4(struct xdp_md *ctx, const struct segment *segment)
{
	return (__u32)(ctx->data_end - ctx->data) - segment->behind;
}

static __always_inline void count_in(struct nw_flow *flow, const struct segment *segment, __u64 now)
{
	__sync_fetch_and_add(&flow->packets_in, 1);
	__sync_fetch_and_add(&flow->bytes_in, segment->bytes);
	touch(flow, now);
}

/* Whether the packet acknowledges our SYN, all of what was sent since, or something between. */
static __always_inline int acknowledges_opening(const struct segment *segment,
						const struct nw_flow *flow)
{
	__u32 first = flow->inside_first + 1;

	return segment->tcp_flags & TCP_ACK &&
	       segment->acknowledgement - first <= (__u32)flow->inside_next - first;
}

/*
 * The peer has proved that it hears us: its acknowledgement holds our first number, which nobody can guess. The flow
 * goes to the table where no forged packet brings one in.
 */
static __always_inline __u32 prove(struct xdp_md *ctx, struct segment *segment,
				   struct nw_flow *half, struct nw_flow_control *control, __u64 now)
{
	struct flow_scratch *made = scratch();
	__u8 flags = segment->tcp_flags;
	struct nw_flow *flow;

	if (!made || nw_config.dry_run)
		return FLOW_KNOWN;
	flow = &made->flow;
	*flow = *half;
	flow->state = NW_FLOW_ESTABLISHED;
	flow->is_numbered = 1;
	flow->was_reset = 0;
	flow->seen = now;
	flow->outside_next = end_of(segment);
	flow->outside_closed = !!(flags & TCP_FIN);
	if (flags & TCP_SYN) {
		flow->outside_acked = segment->sequence + 1;
		flow->outside_limit = flow->outside_acked + flow->inside_window;
		flow->outside_scale = window_scale((void *)(long)ctx->data,
						   (void *)(long)ctx->data_end,
						   offset_of_l4(ctx, segment));
	}
	/* The option counts only if both have it. */
	if (flow->inside_scale == NW_SCALE_NONE || flow->outside_scale == NW_SCALE_NONE)
		flow->inside_scale = flow->outside_scale = 0;
	flow->outside_window = scaled(segment->window, flags & TCP_SYN ? 0 : flow->outside_scale);
	flow->packets_in += 1;
	flow->bytes_in += segment->bytes;
	note_update(bpf_map_update_elem(&flows, segment, flow, BPF_ANY), NW_FLOW_PROVEN, control,
		    now);
	emit_segment(NW_EVENT_FLOW_OPEN, NW_REASON_FLOW, flow->state, 0);
	bpf_map_delete_elem(&half_flows, segment);
	segment->is_proven = 1;
	return FLOW_KNOWN;
}

/* The end of a flow that was not opened yet: the RST must have the one number that it can have. */
static __always_inline __u32 refuse(const struct segment *segment, struct nw_flow *half, int holds,
				    __u64 now)
{
	if (!holds)
		return FLOW_BAD_SEQUENCE;
	if (!nw_config.dry_run) {
		half->was_reset = RESET_BY_PEER;
		count_in(half, segment, now);
	}
	return FLOW_KNOWN;
}

/* Our SYN left: a SYN-ACK or a RST that acknowledges it. */
static __always_inline __u32 answer_to_syn(struct xdp_md *ctx, struct segment *segment,
					   struct nw_flow *half, struct nw_flow_control *control,
					   __u64 now)
{
	__u8 flags = segment->tcp_flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST);

	if (flags & TCP_RST)
		return refuse(segment, half, acknowledges_opening(segment, half), now);
	if (flags == (TCP_SYN | TCP_ACK) && acknowledges_opening(segment, half))
		return prove(ctx, segment, half, control, now);
	/* RFC 9293, 3.5.1: the peer still has the flow that ours replaces, and our end will reset it. */
	if (flags == TCP_ACK && !segment->data && half->replaces)
		return FLOW_KNOWN;
	return FLOW_BAD_SEQUENCE;
}

/* Our SYN-ACK left: the ACK of it, perhaps with data, or the peer's own SYN-ACK if both began at once. */
static __always_inline __u32 answer_to_syn_ack(struct xdp_md *ctx, struct segment *segment,
					       struct nw_flow *half,
					       struct nw_flow_control *control, __u64 now)
{
	__u8 flags = segment->tcp_flags;

	if (flags & TCP_RST)
		return refuse(segment, half, segment->sequence == half->outside_next, now);
	if (!acknowledges_opening(segment, half))
		return FLOW_BAD_SEQUENCE;
	if (flags & TCP_SYN) {
		if (flags & TCP_FIN || segment->sequence + 1 != half->outside_next)
			return FLOW_BAD_SEQUENCE;
	} else if (is_after(half->outside_next, segment->sequence) ||
		   is_after(segment->sequence, half->outside_limit)) {
		return FLOW_BAD_SEQUENCE;
	}
	return prove(ctx, segment, half, control, now);
}

/* Whether the numbers may be the peer's, after Rooij, "Real stateful TCP packet filtering" (2001). */
static __always_inline int is_in_window(const struct segment *segment, const struct nw_flow *flow)
{
	__u32 acknowledged = segment->acknowledgement;
	__u32 known = flow->inside_next; /* read once: egress may move it on */
	__u32 ahead = 0;

	/* Of an adopted flow the first packet seen may have been an old one, sent again. */
	if (flow->state == NW_FLOW_ADOPTED)
		ahead = 1U << 29;
	return !is_after(segment->sequence, flow->outside_limit) &&
	       !is_after(flow->outside_acked - larger(flow->inside_window, FLOW_SLACK),
			 end_of(segment)) &&
	       !is_after(acknowledged, known + ahead) &&
	       !is_after(known - larger(flow->outside_window, FLOW_SLACK) - ahead, acknowledged);
}

/*
 * RFC 5961, 3.2: a RST counts if its number is the next one. Our end expects what it acknowledged last; what was
 * seen of the peer may be more. One that is merely inside the window is what an attacker can send.
 */
static __always_inline __u32 judge_rst(const struct segment *segment, struct nw_flow *flow,
				       __u64 now)
{
	if (flow->is_numbered && segment->sequence != flow->outside_next &&
	    segment->sequence != flow->outside_acked)
		return FLOW_BAD_SEQUENCE;
	if (!nw_config.dry_run) {
		__u32 before = state_of(flow);

		if (flow->is_numbered)
			flow->was_reset = RESET_BY_PEER;
		count_in(flow, segment, now);
		tell_end(flow, before);
	}
	return FLOW_KNOWN;
}

/* Takes over what a packet in the window says. */
static __always_inline void learn(const struct segment *segment, struct nw_flow *flow, __u64 now)
{
	__u32 next = flow->outside_next, end = end_of(segment);
	__u32 window = scaled(segment->window, flow->outside_scale);

	if (flow->is_numbered) {
		/* What follows a FIN or a RST shows that it was not the peer's. */
		if (UNLIKELY(flow->was_reset == RESET_BY_PEER) &&
		    !is_after(next, segment->sequence))
			flow->was_reset = 0;
		if (UNLIKELY(flow->outside_closed) && segment->data &&
		    !is_after(next, segment->sequence))
			flow->outside_closed = 0;
		if (UNLIKELY(segment->tcp_flags & TCP_FIN) && !is_after(segment->sequence, next)) {
			__u32 before = state_of(flow);

			flow->outside_closed = 1;
			tell_end(flow, before);
		}
		if (is_after(end, next))
			flow->outside_next = end;
	}
	if (window > flow->outside_window)
		flow->outside_window = window;
	count_in(flow, segment, now);
}

static __always_inline __u32 judge_open(struct segment *segment, struct nw_flow *flow, __u64 now)
{
	__u8 flags = segment->tcp_flags;

	if (UNLIKELY(flags & TCP_RST))
		return flags & (TCP_SYN | TCP_FIN) ? FLOW_BAD_SEQUENCE :
						     judge_rst(segment, flow, now);
	/* All but the first SYN and RST acknowledge something. */
	if (!(flags & TCP_ACK) || (flags & TCP_SYN && flags & TCP_FIN))
		return FLOW_BAD_SEQUENCE;
	if (flow->is_numbered && !is_in_window(segment, flow))
		return FLOW_BAD_SEQUENCE;
	segment->is_proven = flow->state == NW_FLOW_ESTABLISHED;
	if (!nw_config.dry_run)
		learn(segment, flow, now);
	return FLOW_KNOWN;
}

/* What becomes of a packet that no flow knows and that begins none: flows may be missing for a while. */
static __always_inline __u32 unknown(const struct nw_flow_control *control, __u64 now)
{
	if (nw_config.flows != NW_FLOWS_STRICT)
		return FLOW_UNKNOWN;
	if (now >= control->adopt_until && now >= control->guarded_until)
		return FLOW_OUT_OF_STATE;
	count_flow_event(NW_FLOW_SPARED);
	return FLOW_UNKNOWN;
}

static __always_inline __u32 tcp_flow(struct xdp_md *ctx, struct segment *segment,
				      struct nw_flow_control *control)
{
	struct nw_flow *flow;
	__u64 now;

	/* A plain SYN is nobody's yet, and a flood of them costs no lookup. */
	if ((segment->tcp_flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)) == TCP_SYN)
		return FLOW_UNKNOWN;
	now = bpf_ktime_get_coarse_ns();
	flow = bpf_map_lookup_elem(&flows, segment);
	if (flow && is_live(flow, control, now))
		return judge_open(segment, flow, now);
	flow = bpf_map_lookup_elem(&half_flows, segment);
	if (!flow || !is_live(flow, control, now))
		return unknown(control, now);
	if (flow->state == NW_FLOW_SYN_SENT)
		return answer_to_syn(ctx, segment, flow, control, now);
	return answer_to_syn_ack(ctx, segment, flow, control, now);
}

/* UDP, and replies to our echo requests. Those of no flow go on: nftables knows what it lets in. */
static __always_inline __u32 other_flow(struct segment *segment,
					const struct nw_flow_control *control)
{
	struct nw_flow *flow = bpf_map_lookup_elem(&half_flows, segment);
	__u64 now;

	if (!flow)
		return FLOW_UNKNOWN; /* what most packets of a flood are: without a look at the clock */
	now = bpf_ktime_get_coarse_ns();
	if (!is_live(flow, control, now))
		return FLOW_UNKNOWN;
	if (nw_config.dry_run)
		return FLOW_KNOWN;
	if (flow->state == NW_FLOW_UDP)
		flow->state = NW_FLOW_UDP_ANSWERED;
	count_in(flow, segment, now);
	return FLOW_KNOWN;
}

/* ICMP errors by the tuple inside, which is that of a packet of ours. */
static __always_inline __u32 error_flow(struct xdp_md *ctx, const struct segment *segment,
					const struct nw_flow_control *control)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct flow_scratch *inner = scratch();
	struct nw_flow *flow;

	if (!inner || !read_inner(ctx, offset_of_l4(ctx, segment), segment, &inner->key))
		return FLOW_UNKNOWN;
	flow = bpf_map_lookup_elem(&flows, &inner->key);
	if (flow && is_live(flow, control, now))
		return FLOW_KNOWN;
	flow = bpf_map_lookup_elem(&half_flows, &inner->key);
	return flow && is_live(flow, control, now) ? FLOW_KNOWN : unknown(control, now);
}

static __always_inline int is_echo_reply(const struct segment *segment)
{
	return segment->icmp_type == (segment->family == 4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY);
}

static __noinline __u32 flow_of(struct xdp_md *ctx, struct segment *segment)
{
	struct nw_flow_control *control = flow_settings();
	__u32 answer = FLOW_UNKNOWN;

	if (!segment || !control || !segment->has_l4)
		return FLOW_UNKNOWN;
	if (segment->protocol == IPPROTO_TCP)
		answer = tcp_flow(ctx, segment, control);
	else if (segment->protocol == IPPROTO_UDP || is_echo_reply(segment))
		return other_flow(segment, control);
	else if (is_error_type(segment->family, segment->icmp_type))
		return error_flow(ctx, segment, control);
	return nw_config.flows == NW_FLOWS_STRICT || answer == FLOW_KNOWN ? answer : FLOW_UNKNOWN;
}

#endif
