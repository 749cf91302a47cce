// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The floor of any exact list: find the source address, touch the one line of a table where such
 * an address would be, count, drop. What a firewall with a list costs above this is its own doing.
 *
 * The table is as large as the host table of neurowall and lies as pseudo-randomly in memory; its
 * lines are zero. An address never matches: everything is dropped, listed or not.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct touch_line {
	__u64 words[8];
};

/* Written by nobody, read by the program. Userspace sets max_entries = lines before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* page-aligned values: one line is one cache line */
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct touch_line);
} lines SEC(".maps");

/* Written by the program, read by the harness: packets that were dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

/* Lines of the table - 1; a power of two less one. Set before load. */
const volatile __u32 line_mask = 262143;

/* Odd, so that the product is a bijection; its upper half is well mixed (Fibonacci hashing). */
static const __u64 multiplier = 0x9e3779b97f4a7c15ULL;

static __always_inline __u32 hash_address(__u64 address)
{
	address *= multiplier;
	return (address ^ address >> 29) >> 32;
}

/* Hash of the source address into *hash; false if the packet has none. */
static __always_inline bool source_hash(const struct xdp_md *ctx, __u32 *hash)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;

	if (data + sizeof(*eth) + sizeof(struct iphdr) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = data + sizeof(*eth);

		*hash = hash_address(ip->saddr);
		return true;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6 = data + sizeof(*eth);
		const __u32 *word = (const __u32 *)&ip6->saddr;

		if ((const void *)(ip6 + 1) > end)
			return false;
		*hash = hash_address(((__u64)word[0] << 32 | word[1]) * 3 +
				     ((__u64)word[2] << 32 | word[3]));
		return true;
	}
	return false;
}

SEC("xdp")
int xdptouch(struct xdp_md *ctx)
{
	const volatile struct touch_line *line;
	__u32 zero = 0, index, hash;
	__u64 *count;

	if (!source_hash(ctx, &hash))
		return XDP_PASS;
	index = hash & line_mask;
	line = bpf_map_lookup_elem(&lines, &index);
	/* The loaded word decides, so that the load cannot be optimised away. */
	if (!line || line->words[hash >> 29])
		return XDP_PASS;
	count = bpf_map_lookup_elem(&dropped, &zero);
	if (count)
		*count += 1;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
