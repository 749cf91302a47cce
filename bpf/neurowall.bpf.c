// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The data plane at XDP ingress, see ARCHITECTURE.md, "A packet": nw_ingress, and for interfaces behind which
 * our own hosts live nw_internal, which asks more (internal.h). Two programs with functions of their own,
 * because a constant argument, as a switch in .rodata, leaves nw_ingress more code than without. And at tc egress
 * nw_egress, which says what left.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "account.h"
#include "config.h"
#include "decide.h"
#include "defend.h"
#include "egress.h"
#include "events.h"
#include "internal.h"
#include "parse.h"

static __always_inline struct decision judge_ip(struct packet *packet, int family)
{
	enum nw_reason malformed = parse_ip(packet, family);
	struct decision decision;

	if (UNLIKELY(malformed != NW_REASON_DEFAULT))
		return drop(malformed);
	decision = decide_ip(packet);
	note_segment(packet, &decision);
	return decision;
}

/*
 * A function of its own, so that clang keeps IPv4 in registers: with both families in one body
 * everything they share goes through the stack, 2-4 ns a packet. BPF returns one word: struct
 * decision travels packed.
 */
static __noinline __u64 judge_ipv6(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct decision decision;

	if (parse_ethernet(ctx, &packet) != NW_REASON_DEFAULT)
		return 0; /* cannot be: the caller has parsed it */
	decision = judge_ip(&packet, 6);
	return (__u64)decision.class_id << 32 | decision.reason << 8 | decision.verdict;
}

static __always_inline struct decision judge(struct xdp_md *ctx)
{
	struct packet packet = {};
	enum nw_reason malformed = parse_ethernet(ctx, &packet);
	__u64 packed;

	if (UNLIKELY(malformed != NW_REASON_DEFAULT))
		return drop(malformed);
	if (packet.ethertype == bpf_htons(ETH_P_IP))
		return judge_ip(&packet, 4);
	if (packet.ethertype != bpf_htons(ETH_P_IPV6))
		return decide_not_ip(&packet);
	packed = judge_ipv6(ctx);
	return (struct decision){ .class_id = packed >> 32,
				  .reason = packed >> 8,
				  .verdict = packed };
}

static __always_inline struct decision judge_ip_internal(struct packet *packet, int family,
							 __u32 *destination_class)
{
	enum nw_reason malformed = parse_ip(packet, family);
	struct decision decision;

	if (UNLIKELY(malformed != NW_REASON_DEFAULT))
		return drop(malformed);
	decision = decide_internal(packet, destination_class);
	note_segment(packet, &decision);
	return decision;
}

/* As judge_ipv6(); the class of the destination is in bits 16 to 31. */
static __noinline __u64 judge_ipv6_internal(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct decision decision;
	__u32 destination_class = 0;

	if (parse_ethernet(ctx, &packet) != NW_REASON_DEFAULT)
		return 0;
	decision = judge_ip_internal(&packet, 6, &destination_class);
	return (__u64)decision.class_id << 32 | destination_class << 16 | decision.reason << 8 |
	       decision.verdict;
}

static __always_inline struct decision judge_internal(struct xdp_md *ctx, __u32 *destination_class)
{
	struct packet packet = {};
	enum nw_reason malformed = parse_ethernet(ctx, &packet);
	__u64 packed;

	if (UNLIKELY(malformed != NW_REASON_DEFAULT))
		return drop(malformed);
	if (packet.ethertype == bpf_htons(ETH_P_IP))
		return judge_ip_internal(&packet, 4, destination_class);
	if (packet.ethertype != bpf_htons(ETH_P_IPV6))
		return decide_not_ip(&packet);
	packed = judge_ipv6_internal(ctx);
	*destination_class = packed >> 16 & 0xFFFF;
	return (struct decision){ .class_id = packed >> 32,
				  .reason = packed >> 8,
				  .verdict = packed };
}

SEC("xdp")
int nw_ingress(struct xdp_md *ctx)
{
	struct decision decision = judge(ctx);

	defend(ctx, &decision);
	note_drop(ctx, decision.verdict, decision.reason, decision.class_id);
	return account(ctx, &decision);
}

SEC("xdp")
int nw_internal(struct xdp_md *ctx)
{
	__u32 destination_class = 0;
	struct decision decision = judge_internal(ctx, &destination_class);

	defend(ctx, &decision);
	note_drop(ctx, decision.verdict, decision.reason,
		  decision.reason == NW_REASON_DESTINATION_BLOCK_LIST ? destination_class :
									decision.class_id);
	count_class(ctx, destination_class);
	return account(ctx, &decision);
}

/* At tc egress of external interfaces: records what leaves, decides nothing. */
SEC("tc")
int nw_egress(struct __sk_buff *ctx)
{
	record_egress(ctx);
	return TC_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
