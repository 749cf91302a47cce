// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The only place that counts, and the only way out: a packet cannot leave uncounted.
 */
#ifndef NW_ACCOUNT_H
#define NW_ACCOUNT_H

#include "config.h"
#include "decide.h"
#include "maps.h"

static __always_inline void add_packet(struct nw_counter *counter, __u64 bytes)
{
	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

/* What matched besides the class of the decision; 0: nothing. */
static __always_inline void count_class(struct xdp_md *ctx, __u32 class_id)
{
	if (class_id && !nw_config.dry_run)
		add_packet(bpf_map_lookup_elem(&class_counters, &class_id),
			   ctx->data_end - ctx->data);
}

/* XDP's own answer is in the lowest bits; nobody but BPF_PROG_RUN ever sees the others. */
static __always_inline int dry_answer(const struct decision *decision, int action)
{
	return action | decision->reason << NW_DRY_REASON_SHIFT |
	       decision->class_id << NW_DRY_CLASS_SHIFT;
}

static __always_inline int account(struct xdp_md *ctx, const struct decision *decision)
{
	__u32 reason = decision->reason, class_id = decision->class_id;
	__u64 bytes = ctx->data_end - ctx->data;

	if (!nw_config.dry_run) {
		add_packet(bpf_map_lookup_elem(&reason_counters, &reason), bytes);
		if (class_id)
			add_packet(bpf_map_lookup_elem(&class_counters, &class_id), bytes);
	}
	if (nw_config.dry_run)
		return dry_answer(decision,
				  decision->verdict == NW_VERDICT_DROP ? XDP_DROP : XDP_PASS);
	return decision->verdict == NW_VERDICT_DROP ? XDP_DROP : XDP_PASS;
}

#endif
