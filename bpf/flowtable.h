// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tables of flows: what is in them and still holds, and what comes in. Time is coarse (4 ms or so), which is
 * four times cheaper than the exact one and enough for timeouts.
 */
#ifndef NW_FLOWTABLE_H
#define NW_FLOWTABLE_H

#include "config.h"
#include "events.h"
#include "maps.h"
#include "segment.h"

#define FLOW_SECOND 1000000000ULL
#define FLOW_TICK \
	(FLOW_SECOND / 10) /* how old `seen` may be: so two CPUs seldom write to one line */
/* How far behind an acknowledgement, or data sent again, may be where windows are small: as nf_conntrack. */
#define FLOW_SLACK 66000U

enum flow_reset {
	RESET_BY_PEER = 1,
	RESET_BY_US = 2
};

static __always_inline struct nw_flow_control *flow_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_control, &zero);
}

static __always_inline struct flow_scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_scratches, &zero);
}

static __always_inline void count_flow_event(enum nw_flow_event event)
{
	__u64 *count = bpf_map_lookup_elem(&flow_events, &event);

	if (count && !nw_config.dry_run)
		*count += 1;
}

/* Whether a comes after b; numbers wrap. */
static __always_inline int is_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

static __always_inline __u32 larger(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

static __always_inline __u32 end_of(const struct segment *segment)
{
	__u8 flags = segment->tcp_flags;

	return segment->sequence + segment->data + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
}

static __always_inline __u32 scaled(__u16 window, __u8 scale)
{
	return (__u32)window << (scale & 15);
}

/* What the flow is in, with what follows from the FINs and the RST that were seen. */
static __always_inline __u32 state_of(const struct nw_flow *flow)
{
	if (flow->was_reset)
		return NW_FLOW_RESET;
	if (flow->inside_closed & flow->outside_closed)
		return NW_FLOW_CLOSED;
	if (flow->inside_closed | flow->outside_closed)
		return NW_FLOW_HALF_CLOSED;
	return flow->state;
}

/* Tell of a flow that ends by this packet; *before*: its state until now. */
static __always_inline void tell_end(const struct nw_flow *flow, __u32 before)
{
	__u32 state = state_of(flow);

	if (EMITS && state != before && (state == NW_FLOW_CLOSED || state == NW_FLOW_RESET))
		emit_segment(NW_EVENT_FLOW_CLOSE, NW_REASON_FLOW, state,
			     flow->bytes_in + flow->bytes_out);
}

/* A flow whose time is over is not known, whether or not it is still in the table. */
static __always_inline int is_live(const struct nw_flow *flow,
				   const struct nw_flow_control *control, __u64 now)
{
	__u32 state = state_of(flow);

	/* Signed: another CPU may have seen a packet after our clock was read. */
	return state < NW_FLOW_STATE_MAX &&
	       (__s64)(now - flow->seen) < (__s64)control->timeouts[state];
}

static __always_inline void touch(struct nw_flow *flow, __u64 now)
{
	if ((__s64)(now - flow->seen) >= (__s64)FLOW_TICK)
		flow->seen = now;
}

/* Flows may be missing although nobody did anything wrong: what is out of state passes for now. */
static __always_inline void loosen(struct nw_flow_control *control, __u64 now)
{
	if (EMITS && control->guarded_until < now)
		emit_segment(NW_EVENT_GUARD, NW_REASON_FLOW, 0, control->new_per_second);
	if (control->guarded_until < now + FLOW_SECOND / 2)
		control->guarded_until = now + FLOW_SECOND;
}

/*
 * Whether this CPU may insert one more flow of this state in this second. Half is for TCP alone, and only TCP that is
 * kept out loosens: answers to forged UDP queries must not switch strict off, and of UDP nothing is dropped.
 */
static __always_inline int admits_new(struct nw_flow_control *control, __u32 state, __u64 now)
{
	__u32 zero = 0, is_tcp = state < NW_FLOW_UDP;
	struct nw_flow_guard *guard = bpf_map_lookup_elem(&flow_guard, &zero);

	if (!guard)
		return 0;
	if (now - guard->window_start >= FLOW_SECOND) {
		guard->window_start = now;
		guard->inserted = 0;
	}
	if (guard->inserted >= control->new_per_second >> !is_tcp) {
		count_flow_event(NW_FLOW_GUARDED);
		if (is_tcp)
			loosen(control, now);
		return 0;
	}
	guard->inserted += 1;
	return 1;
}

/* What an update of a table answered. */
static __always_inline void note_update(long error, enum nw_flow_event event,
					struct nw_flow_control *control, __u64 now)
{
	if (error) {
		count_flow_event(NW_FLOW_FAILED);
		loosen(control, now);
		return;
	}
	count_flow_event(event);
}

#endif
