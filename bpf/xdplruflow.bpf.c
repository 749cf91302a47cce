// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A flow table as naive connection trackers in XDP have it: whatever comes in makes an entry in an LRU
 * hash, and every packet of it renews that. A rival of the harness: who sends from random sources
 * decides what it forgets. It drops nothing.
 *
 * IPv4 TCP and UDP without options; everything else passes unseen.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct flow_key {
	__be32 source;
	__be32 destination;
	__be32 ports; /* both, as on the wire */
	__u32 protocol;
};

struct flow_state {
	__u64 seen; /* when its last packet came */
	__u64 packets;
	__u64 bytes;
};

/* Written by the program only. Userspace sets max_entries before load. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow_key);
	__type(value, struct flow_state);
} flows SEC(".maps");

/* Written by the program, read by the harness: packets of a known flow, and those that made one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} tracked SEC(".maps");

static __always_inline void count(__u32 made)
{
	__u64 *value = bpf_map_lookup_elem(&tracked, &made);

	if (value)
		*value += 1;
}

static __always_inline void track(const struct flow_key *key, __u64 bytes)
{
	struct flow_state *known = bpf_map_lookup_elem(&flows, key);
	struct flow_state made = { .seen = bpf_ktime_get_ns(), .packets = 1, .bytes = bytes };

	count(!known);
	if (!known) {
		bpf_map_update_elem(&flows, key, &made, BPF_ANY);
		return;
	}
	known->seen = made.seen;
	__sync_fetch_and_add(&known->packets, 1);
	__sync_fetch_and_add(&known->bytes, bytes);
}

SEC("xdp")
int xdplruflow(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = data + sizeof(*eth);
	const __be32 *ports = (const void *)(ip + 1);
	struct flow_key key;

	if ((const void *)(ports + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	key.source = ip->saddr;
	key.destination = ip->daddr;
	key.ports = *ports;
	key.protocol = ip->protocol;
	track(&key, ctx->data_end - ctx->data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
