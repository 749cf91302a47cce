// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What userspace is told of while it happens: drops, sampled, and what limits and flows did. The ring never
 * waits and is never waited for: what is over the budget, or finds no room, is counted instead.
 *
 * A budget is for each reason of a drop, and each other kind, on each CPU and in each window. Windows are
 * numbered by userspace, which begins one each second while it reads: no clock is read for a dropped packet,
 * and nobody writes what nobody reads. Once a budget is spent, a packet costs a comparison and a counter of
 * this CPU.
 */
#ifndef NW_EVENTS_H
#define NW_EVENTS_H

#include "config.h"
#include "maps.h"
#include "parse.h"
#include "segment.h"

#define EMITS (nw_config.events && !nw_config.dry_run)

/* The budget to spend one event of, or NULL; *index*: a reason, or NW_REASON_MAX + kind. */
static __always_inline struct nw_event_budget *budget_of(__u32 index)
{
	const struct nw_event_control *control;
	struct nw_event_budget *budget;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&event_control, &zero);
	budget = bpf_map_lookup_elem(&event_budgets, &index);
	if (!control || !budget || !control->window)
		return NULL;
	if (UNLIKELY(budget->window != control->window)) {
		budget->window = control->window;
		budget->left = control->per_window;
	}
	if (!budget->left) {
		budget->suppressed++;
		return NULL;
	}
	return budget;
}

/* The event to be filled in; of this CPU, and empty. */
static __always_inline struct nw_event *draft_event(enum nw_event_kind kind, __u32 reason)
{
	__u32 zero = 0;
	struct nw_event *event = bpf_map_lookup_elem(&event_draft, &zero);

	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	event->kind = kind;
	event->reason = reason;
	return event;
}

static __always_inline void send_event(struct nw_event *event, __u32 index)
{
	struct nw_event_budget *budget = bpf_map_lookup_elem(&event_budgets, &index);

	if (!budget)
		return;
	budget->left--;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), 0))
		budget->lost++;
	else
		budget->sent++;
}

/* Addresses stand where they stand, however wrong the rest of the header is. */
static __always_inline void draft_addresses(const struct packet *packet, struct nw_event *event)
{
	const struct iphdr *ip4 = packet->cursor;
	const struct ipv6hdr *ip6 = packet->cursor;

	if (packet->ethertype == bpf_htons(ETH_P_IP) && (void *)(ip4 + 1) <= packet->end) {
		event->family = 4;
		event->protocol = ip4->protocol;
		__builtin_memcpy(&event->source[12], &ip4->saddr, 4);
		__builtin_memcpy(&event->destination[12], &ip4->daddr, 4);
	} else if (packet->ethertype == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= packet->end) {
		event->family = 6;
		event->protocol = ip6->nexthdr;
		__builtin_memcpy(event->source, &ip6->saddr, 16);
		__builtin_memcpy(event->destination, &ip6->daddr, 16);
	}
}

/* What only a sound header says. */
static __always_inline void draft_transport(const struct packet *packet, struct nw_event *event)
{
	const struct tcphdr *tcp = packet->cursor;

	event->protocol = packet->protocol;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	if (packet->has_l4 && packet->protocol == IPPROTO_TCP && (void *)(tcp + 1) <= packet->end)
		event->tcp_flags = ((const __u8 *)tcp)[13];
}

/*
 * Tell of a dropped packet. It is parsed anew, since the way that led to the drop keeps nothing of it that
 * only an event would need. Global, so that the verifier follows it once; before Linux 6.8 also where nothing
 * calls it, hence the first condition.
 */
__noinline int emit_drop(struct xdp_md *ctx, __u32 reason, __u32 class_id)
{
	struct packet packet = {};
	struct nw_event *event;

	if (!EMITS)
		return 0;
	event = draft_event(NW_EVENT_DROP, reason);
	if (!event)
		return 0;
	event->verdict = NW_VERDICT_DROP;
	event->ifindex = ctx->ingress_ifindex;
	event->bytes = ctx->data_end - ctx->data;
	event->number = class_id;
	if (parse_ethernet(ctx, &packet) == NW_REASON_DEFAULT) {
		draft_addresses(&packet, event);
		if (event->family == 4 && parse_ip(&packet, 4) == NW_REASON_DEFAULT)
			draft_transport(&packet, event);
		else if (event->family == 6 && parse_ip(&packet, 6) == NW_REASON_DEFAULT)
			draft_transport(&packet, event);
	}
	event->ethertype = packet.ethertype;
	send_event(event, reason);
	return 0;
}

/* Called for each packet: tells of it if it is dropped and the budget of its reason has something left. */
static __always_inline void note_drop(struct xdp_md *ctx, __u32 verdict, __u32 reason,
				      __u32 class_id)
{
	if (!EMITS || verdict != NW_VERDICT_DROP)
		return;
	if (UNLIKELY(budget_of(reason) != NULL))
		emit_drop(ctx, reason, class_id);
}

/* Global, with numbers alone, so that the verifier follows it once and not for each way that leads here. */
__noinline int emit_of_segment(__u32 kind, __u32 reason, __u32 number, __u64 extra)
{
	const struct segment *segment = segment_under_way();
	struct nw_event *event;

	if (!EMITS || !segment || kind >= NW_EVENT_MAX || !budget_of(NW_REASON_MAX + kind))
		return 0;
	event = draft_event(kind, reason);
	if (!event)
		return 0;
	event->extra = extra;
	event->verdict = NW_VERDICT_NONE;
	event->number = number;
	event->ifindex = segment->ifindex;
	event->bytes = segment->bytes;
	event->family = segment->family;
	event->protocol = segment->protocol;
	event->tcp_flags = segment->tcp_flags;
	event->source_port = segment->source_port;
	event->destination_port = segment->destination_port;
	__builtin_memcpy(event->source, segment->source, 16);
	__builtin_memcpy(event->destination, segment->destination, 16);
	send_event(event, NW_REASON_MAX + kind);
	return 0;
}

/*
 * Tell of what limits and flows did with the segment under way; not of drops, which are told of by themselves.
 * *reason*: the one that the packet is counted under. *number* and *extra*: see enum nw_event_kind.
 */
static __always_inline void emit_segment(enum nw_event_kind kind, enum nw_reason reason,
					 __u32 number, __u64 extra)
{
	if (EMITS)
		emit_of_segment(kind, reason, number, extra);
}

#endif
