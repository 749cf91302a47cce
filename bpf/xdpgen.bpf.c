// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The generator of the harness. Run by BPF_PROG_RUN with live frames: the kernel hands over a
 * recycled page, this writes one UDP packet into it and redirects it out of an interface.
 *
 * Recycled pages keep what the gateway wrote into them (its own MACs, a smaller TTL), so every byte
 * of every header is written each time. The constant bytes come from a template that userspace
 * prepared, in 64-bit stores; source, checksum and id are the packet's own. The padding behind them
 * is zero from the start and stays so.
 *
 * Sources are taken in sequence from an array that was shuffled beforehand, so that making a source
 * costs the same whatever is tested: no randomness, one new cache line each 16 (IPv6: 4) packets.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "benchmark.h"

/* Offsets into the frame, Ethernet included. The payload is at 42 and at 62. */
enum xdpgen_offset {
	XDPGEN4_CHECKSUM = 24,
	XDPGEN4_SOURCE = 26,
	XDPGEN4_ID = 50,
	XDPGEN4_BYTES = 56, /* what is written: seven words */
	XDPGEN6_SOURCE = 22,
	XDPGEN6_CHECKSUM = 60, /* of UDP, which IPv6 requires */
	XDPGEN6_ID = 70,
	XDPGEN6_BYTES = 74,
};

/* What to send. Userspace writes it while nothing runs. */
struct xdpgen_flow {
	__u64 frame[10]; /* the template: source, checksum and id are zero */
	__u32 sum; /* one's complement sum of those 16-bit words of it that the checksum covers */
	__u32 sources; /* how many sources the array holds */
	__u32 ifindex; /* where to send, in the network namespace of the caller */
	__u32 family; /* 4 or 6 */
};

struct xdpgen_flow flow SEC(".data.flow") = {};

/* Where each CPU is; one thread on one CPU generates. Userspace sets it before a run. */
struct xdpgen_state {
	__u64 offered; /* packets handed to the interface; never reset by the program */
	__u32 cursor; /* index of the next source */
	__u32 id; /* of the next packet */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdpgen_state);
} state SEC(".maps");

/* One cache line of sources, as they are on the wire. Userspace sets max_entries before load. */
struct xdpgen_line {
	union {
		__u32 v4[16];
		__u64 v6[4][2];
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdpgen_line);
} sources SEC(".maps");

/* Folds a sum of 16-bit words and complements it: the checksum to write (RFC 1071). */
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

/* Sum of the four 16-bit words of value, not folded. */
static __always_inline __u32 sum_words(__u64 value)
{
	__u64 sum = (value & 0x0000ffff0000ffffULL) + (value >> 16 & 0x0000ffff0000ffffULL);

	return (__u32)sum + (__u32)(sum >> 32);
}

static __always_inline int write4(void *data, const struct xdpgen_line *line, __u32 index, __u32 id)
{
	__u32 source = line->v4[index % 16];
	__u64 *words = data;

	words[0] = flow.frame[0];
	words[1] = flow.frame[1];
	words[2] = flow.frame[2];
	words[3] = flow.frame[3];
	words[4] = flow.frame[4];
	words[5] = flow.frame[5];
	words[6] = flow.frame[6];
	*(__u16 *)(data + XDPGEN4_CHECKSUM) = fold(flow.sum + (source & 0xffff) + (source >> 16));
	*(__u32 *)(data + XDPGEN4_SOURCE) = source;
	*(__be32 *)(data + XDPGEN4_ID) = id;
	return bpf_redirect(flow.ifindex, 0);
}

static __always_inline int write6(void *data, const struct xdpgen_line *line, __u32 index, __u32 id)
{
	__u64 high = line->v6[index % 4][0], low = line->v6[index % 4][1];
	__u64 *words = data;
	__u16 sum;

	sum = fold(flow.sum + sum_words(high) + sum_words(low) + (id & 0xffff) + (id >> 16));
	words[0] = flow.frame[0];
	words[1] = flow.frame[1];
	words[2] = flow.frame[2];
	words[4] = flow.frame[4];
	words[5] = flow.frame[5];
	words[6] = flow.frame[6];
	words[7] = flow.frame[7];
	words[8] = flow.frame[8];
	*(__u64 *)(data + XDPGEN6_SOURCE) = high;
	*(__u64 *)(data + XDPGEN6_SOURCE + 8) = low;
	/* Zero would say "no checksum", which IPv6 forbids. */
	*(__u16 *)(data + XDPGEN6_CHECKSUM) = sum ? sum : 0xffff;
	*(__be32 *)(data + XDPGEN6_ID) = id;
	return bpf_redirect(flow.ifindex, 0);
}

SEC("xdp")
int xdpgen(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, index, number, id;
	const struct xdpgen_line *line;
	struct xdpgen_state *own;

	own = bpf_map_lookup_elem(&state, &zero);
	if (!own)
		return XDP_ABORTED;
	index = own->cursor;
	number = flow.family == 4 ? index / 16 : index / 4;
	line = bpf_map_lookup_elem(&sources, &number);
	if (!line || data + XDPGEN4_BYTES > end)
		return XDP_ABORTED;
	own->cursor = index + 1 < flow.sources ? index + 1 : 0;
	own->offered += 1;
	id = bpf_htonl(own->id++);
	if (flow.family == 4)
		return write4(data, line, index, id);
	if (data + XDPGEN6_BYTES > end)
		return XDP_ABORTED;
	return write6(data, line, index, id);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
