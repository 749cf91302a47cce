// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A rate limiter as XDP filters usually have it: what is left of each source, and of each /24, in an
 * LRU hash. A rival of the harness, in an honest form: one word a key (GCRA: when the bucket will be
 * full again), updated in place by compare and exchange, so that it is right on several CPUs at once.
 *
 * IPv4 only; everything else passes.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum lru_limit {
	LRU_TRIES = 4, /* of the exchange; who loses them all is over the limit */
};

/* One limit: a packet is worth gap nanoseconds, and so many of them may be owed. */
struct lru_rule {
	__u64 gap; /* zero: no such limit */
	__u64 owed; /* (burst - 1) * gap */
};

struct lru_config {
	struct lru_rule source;
	struct lru_rule prefix;
};

/* Set before load. */
const volatile struct lru_config lru_config = {};

/* Written by the program only: until when what a key has used is paid for, in bpf_ktime_get_ns() time.
 * Keys are as on the wire; those of prefixes have no host bits. Userspace sets max_entries before load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} by_source SEC(".maps"), by_prefix SEC(".maps");

/* Written by the program, read by the harness: packets that were dropped, and those that passed. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline bool take(__u64 *paid_until, const volatile struct lru_rule *rule, __u64 now)
{
	for (int i = 0; i < LRU_TRIES; i++) {
		__u64 before = *(volatile __u64 *)paid_until;
		__u64 from = before > now ? before : now;

		if (from - now > rule->owed)
			return false;
		if (__sync_val_compare_and_swap(paid_until, before, from + rule->gap) == before)
			return true;
	}
	return false;
}

/* Whether one more packet of this key is within the limit. A key that is not there has a full bucket. */
static __always_inline bool admits(void *map, __u32 key, const volatile struct lru_rule *rule,
				   __u64 now)
{
	__u64 *known = bpf_map_lookup_elem(map, &key), first;

	if (known)
		return take(known, rule, now);
	first = now + rule->gap;
	if (bpf_map_update_elem(map, &key, &first, BPF_NOEXIST) == 0)
		return true;
	known = bpf_map_lookup_elem(map, &key); /* another CPU was faster */
	return !known || take(known, rule, now);
}

static __always_inline bool is_over(__u32 source)
{
	__u64 now = bpf_ktime_get_ns();

	if (lru_config.source.gap && !admits(&by_source, source, &lru_config.source, now))
		return true;
	return lru_config.prefix.gap &&
	       !admits(&by_prefix, source & bpf_htonl(0xffffff00), &lru_config.prefix, now);
}

SEC("xdp")
int xdplru(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = data + sizeof(*eth);
	__u32 passed;
	__u64 *count;

	if ((const void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	passed = !is_over(ip->saddr);
	count = bpf_map_lookup_elem(&verdicts, &passed);
	if (count)
		*count += 1;
	return passed ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
