// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The receiver of the harness: counts what arrives of the generator's packets, by kind and family,
 * marks which probes came, sorts what stamped ones took into buckets, and drops them so that the
 * server's stack costs nothing.
 * Everything else (neighbour discovery, TCP of other tests) passes.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "benchmark.h"

struct sink_count {
	__u64 packets;
	__u64 bytes; /* without FCS */
};

/* Written by the program, read by the harness. Index: kind for IPv4, BENCHMARK_KINDS + kind for
 * IPv6, the last entry for what is not the generator's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * BENCHMARK_KINDS + 1);
	__type(key, __u32);
	__type(value, struct sink_count);
} counts SEC(".maps");

/* Arrivals of each probe, by id; ids beyond the end are counted but not marked. The harness clears
 * it through its mapping before it sends.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* How long stamped packets took, by bucket: see enum benchmark_limit. Written by the program, read by
 * the harness; never reset.
 */
struct sink_latency {
	__u64 packets[BENCHMARK_BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sink_latency);
} latency SEC(".maps");

static __always_inline void count(__u32 index, __u64 bytes)
{
	struct sink_count *entry = bpf_map_lookup_elem(&counts, &index);

	if (!entry)
		return;
	entry->packets += 1;
	entry->bytes += bytes;
}

static __always_inline void mark(__u32 id)
{
	__u64 *arrivals = bpf_map_lookup_elem(&seen, &id);

	if (arrivals)
		*arrivals += 1;
}

/* The highest set bit of value, which is not zero. */
static __always_inline __u32 highest_bit(__u64 value)
{
	__u32 bit = 0;

	for (__u32 step = 32; step; step /= 2) {
		if (value >> (bit + step))
			bit += step;
	}
	return bit;
}

static __always_inline __u32 bucket_of(__u64 nanoseconds)
{
	__u32 octave;

	if (nanoseconds >> BENCHMARK_STEP_BITS == 0)
		return nanoseconds;
	if (nanoseconds >> BENCHMARK_OCTAVES)
		return BENCHMARK_BUCKETS - 1;
	octave = highest_bit(nanoseconds) - BENCHMARK_STEP_BITS;
	return (octave << BENCHMARK_STEP_BITS) + (nanoseconds >> octave);
}

static __always_inline void measure(const struct benchmark_payload *payload)
{
	__u64 due = (__u64)payload->due[1] << 32 | payload->due[0], now = bpf_ktime_get_ns();
	struct sink_latency *own;
	__u32 zero = 0, bucket;

	own = bpf_map_lookup_elem(&latency, &zero);
	bucket = now > due ? bucket_of(now - due) : 0;
	if (own && bucket < BENCHMARK_BUCKETS)
		own->packets[bucket] += 1;
}

/* The generator's payload in this packet and the first counter of its family, or NULL. */
static __always_inline const struct benchmark_payload *find_payload(const struct xdp_md *ctx,
								    __u32 *base)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct benchmark_payload *payload;
	const struct ethhdr *eth = data;
	const void *l4;
	__u8 protocol;

	if (data + sizeof(*eth) + sizeof(struct iphdr) > end)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = data + sizeof(*eth);

		/* The generator writes no options. */
		protocol = ip->ihl == 5 ? ip->protocol : IPPROTO_RAW;
		l4 = ip + 1;
		*base = 0;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6 = data + sizeof(*eth);

		if ((const void *)(ip6 + 1) > end)
			return NULL;
		protocol = ip6->nexthdr;
		l4 = ip6 + 1;
		*base = BENCHMARK_KINDS;
	} else {
		return NULL;
	}
	if (protocol == IPPROTO_UDP)
		payload = l4 + sizeof(struct udphdr);
	else if (protocol == IPPROTO_TCP) /* the generator writes no options here either */
		payload = l4 + sizeof(struct tcphdr);
	else
		return NULL;
	if ((const void *)payload->due > end)
		return NULL;
	if (payload->magic == bpf_htonl(BENCHMARK_MAGIC))
		return payload;
	if (payload->magic != bpf_htonl(BENCHMARK_MAGIC_STAMPED) ||
	    (const void *)(payload + 1) > end)
		return NULL;
	measure(payload);
	return payload;
}

SEC("xdp")
int xdpsink(struct xdp_md *ctx)
{
	const struct benchmark_payload *payload;
	__u32 base = 0, kind;

	payload = find_payload(ctx, &base);
	kind = payload ? bpf_ntohl(payload->kind) : BENCHMARK_KINDS;
	if (!payload || kind >= BENCHMARK_KINDS) {
		count(2 * BENCHMARK_KINDS, ctx->data_end - ctx->data);
		return XDP_PASS;
	}
	if (kind == BENCHMARK_KIND_PROBE)
		mark(bpf_ntohl(payload->id));
	count(base + kind, ctx->data_end - ctx->data);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
