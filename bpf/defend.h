// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What comes after the lists: bans by limits, the flow lookup, out-of-state, limits. An allowed source skips bans and
 * nothing else. A known flow is a state, not a verdict: limits that are not for new flows alone hold for it too.
 */
#ifndef NW_DEFEND_H
#define NW_DEFEND_H

#include "config.h"
#include "decide.h"
#include "flows.h"
#include "limits.h"
#include "segment.h"

#define DEFENDS (nw_config.bans || nw_config.flows || nw_config.limits)

/* Whether lists or nothing decided: not what is essential, nor the operator's own way in. */
static __always_inline int is_open(const struct decision *decision)
{
	__u8 reason = decision->reason;

	return decision->verdict == NW_VERDICT_PASS &&
	       (reason == NW_REASON_DEFAULT || reason == NW_REASON_FRAGMENT ||
		reason == NW_REASON_TUNNEL || reason == NW_REASON_ICMP_ERROR ||
		reason == NW_REASON_ALLOW_LIST || reason == NW_REASON_DESTINATION_ALLOW_LIST);
}

/* Keeps of the packet what defend() asks for. */
static __always_inline void note_segment(const struct packet *packet,
					 const struct decision *decision)
{
	struct segment *segment;

	if (!DEFENDS || UNLIKELY(!is_open(decision)))
		return;
	segment = segment_under_way();
	if (segment)
		segment_of(packet, segment);
}

/*
 * Whether the packet is of a connection whose peer was seen to answer: with the numbers that only it can know.
 * Nobody is banned whom a list allows.
 */
static __always_inline int is_proven(const struct segment *segment, __u32 flow, __u32 reason)
{
	return flow == FLOW_KNOWN && segment->is_proven &&
	       (segment->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK &&
	       reason != NW_REASON_ALLOW_LIST;
}

/*
 * The reason for which the packet is dropped or passes, instead of *reason*. Global, so that the verifier
 * follows it once, not for each path that leads here.
 */
__noinline __u32 defence(struct xdp_md *ctx, __u32 reason)
{
	struct segment *segment = segment_under_way();
	__u32 flow = FLOW_UNKNOWN, over;

	if (!segment)
		return NW_REASON_OUT_OF_STATE; /* cannot be: the map has an element for each CPU */
	if (nw_config.bans && reason != NW_REASON_ALLOW_LIST && is_banned(segment))
		return NW_REASON_BANNED;
	if (nw_config.flows)
		flow = flow_of(ctx, segment);
	/* Through memory, so that the verifier does not follow each way to the answer through all limits. */
	*(volatile __u8 *)&segment->flow = flow;
	flow = *(volatile __u8 *)&segment->flow;
	/* Before limits: what is dropped here, in anybody's name, uses up nothing of his. */
	if (flow == FLOW_OUT_OF_STATE)
		return NW_REASON_OUT_OF_STATE;
	if (flow == FLOW_BAD_SEQUENCE)
		return NW_REASON_BAD_SEQUENCE;
	if (nw_config.limits) {
		over = is_over_limit(segment, flow == FLOW_KNOWN, is_proven(segment, flow, reason));
		if (over)
			return NW_REASON_LIMITED | (nw_config.dry_run ? over << 8 : 0);
	}
	return flow == FLOW_KNOWN && reason == NW_REASON_DEFAULT ? NW_REASON_FLOW : reason;
}

/* *decision*, unless what comes after the lists makes it another. Of the packet that was noted last. */
static __always_inline void defend(struct xdp_md *ctx, struct decision *decision)
{
	__u32 answer;

	if (!DEFENDS || UNLIKELY(!is_open(decision)))
		return;
	answer = defence(ctx, decision->reason);
	decision->reason = answer;
	if (nw_config.dry_run)
		decision->class_id |= answer >> 8 << NW_DRY_CLASS_BITS;
	if (decision->reason == NW_REASON_BANNED || decision->reason == NW_REASON_LIMITED ||
	    decision->reason == NW_REASON_OUT_OF_STATE ||
	    decision->reason == NW_REASON_BAD_SEQUENCE)
		decision->verdict = NW_VERDICT_DROP;
}

#endif
