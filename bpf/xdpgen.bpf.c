// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The generator of the harness. Run by BPF_PROG_RUN with live frames: the kernel hands over a
 * recycled page, this writes one UDP packet into it and redirects it out of an interface.
 *
 * Recycled pages keep what the gateway wrote into them (its own MACs, a smaller TTL), so every byte
 * of every header is written each time. The constant bytes come from a template that userspace
 * prepared, in 64-bit stores; source, checksum and id are the packet's own. The padding behind them
 * is zero from the start and stays so, but that of an IPv4 packet in a mixed flow, which no checksum
 * covers, may show the end of an IPv6 one.
 *
 * Sources are taken in sequence from an array that was shuffled beforehand, so that making a source
 * costs the same whatever is tested: no randomness, one new cache line each 16 (IPv6: 4) packets.
 *
 * There are four programs, so that a flow pays only for what it is: one family, two families mixed,
 * either with stamps, and a blend of several classes of packets.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "benchmark.h"

/* Offsets into the frame, Ethernet included. The payload is at 42 and at 62. */
enum xdpgen_offset {
	XDPGEN4_CHECKSUM = 24,
	XDPGEN4_SOURCE = 26,
	XDPGEN4_ID = 50,
	XDPGEN4_STAMP = 54,
	XDPGEN4_BYTES = 56, /* what is written: seven words */
	XDPGEN6_SOURCE = 22,
	XDPGEN6_CHECKSUM = 60, /* of UDP, which IPv6 requires */
	XDPGEN6_ID = 70,
	XDPGEN6_STAMP = 74,
	XDPGEN6_BYTES = 74,
	XDPGEN_STAMP_BYTES = 8,
	/* Of a TCP packet of a blend, whose payload is at 54. */
	XDPGEN_TCP_CHECKSUM = 50,
	XDPGEN_TCP_ID = 62,
	XDPGEN_TCP_TAIL = 64, /* the last two bytes of its payload, behind eight words */
	XDPGEN_TCP_BYTES = 66,
};

enum xdpgen_limit {
	XDPGEN_LINE4 = 16, /* sources in a cache line */
	XDPGEN_LINE6 = 4,
	XDPGEN_SPINS = 8192, /* readings of the clock, >= 160 us: then it goes, due or not */
	XDPGEN_CLASSES = 8,
	XDPGEN_TURNS = 4096, /* packets until the pattern of a blend begins again */
};

/* The packets of one family. */
struct xdpgen_part {
	__u64 frame[10]; /* the template: source, checksum, id and stamp are zero */
	__u32 sum; /* one's complement sum of those 16-bit words of it that the checksum covers */
	__u32 sources; /* how many sources the array holds */
	__u32 first; /* line of the array where they begin */
	__u32 rest;
};

/* What to send. Userspace writes it while nothing runs. */
struct xdpgen_flow {
	struct xdpgen_part v4, v6;
	__u64 gap; /* nanoseconds from one batch to the next; stamped flows only */
	__u32 ifindex; /* where to send, in the network namespace of the caller */
	__u32 every; /* 0: IPv4 alone, 1: IPv6 alone, n: every n-th packet is IPv6 */
	__u32 batch; /* packets that are due at the same time; stamped flows only */
	__u32 rest;
};

struct xdpgen_flow flow SEC(".data.flow") = {};

/* Where each CPU is; one thread on one CPU generates. Userspace sets it before a run. */
struct xdpgen_state {
	__u64 offered; /* packets handed to the interface; never reset by the program */
	__u64 due; /* time of the batch under way; zero before the first of a slice */
	__u32 cursor4; /* index of the next source */
	__u32 cursor6;
	__u32 id; /* of the next packet */
	__u32 turn; /* packets since the last IPv6 one */
	__u32 left; /* packets of the batch under way that are still to come */
	__u32 rest;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdpgen_state);
} state SEC(".maps");

/* One class of a blend: IPv4 packets that differ in source and id only. */
struct xdpgen_class {
	__u64 frame[10];
	__u32 sum; /* of the words that the IPv4 header's checksum covers */
	__u32 tcp_sum; /* of those that TCP's covers, pseudo header and payload */
	__u32 sources;
	__u32 first; /* line of the array where they begin */
	__u32 is_tcp;
	__u32 rest;
};

/* Classes, and of which each packet is, turn by turn. Userspace writes it while nothing runs. */
struct xdpgen_blend {
	struct xdpgen_class classes[XDPGEN_CLASSES];
	__u32 ifindex;
	__u32 turns; /* how much of the pattern there is, at most XDPGEN_TURNS */
	__u8 pattern[XDPGEN_TURNS];
};

struct xdpgen_blend blend SEC(".data.blend") = {};

/* How far each CPU is in a blend. */
struct xdpgen_progress {
	__u64 sent[XDPGEN_CLASSES]; /* never reset by the program */
	__u32 cursor[XDPGEN_CLASSES]; /* index of the next source */
	__u32 turn;
	__u32 rest;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdpgen_progress);
} progress SEC(".maps");

/* One cache line of sources, as they are on the wire. Userspace sets max_entries before load. */
struct xdpgen_line {
	union {
		__u32 v4[XDPGEN_LINE4];
		__u64 v6[XDPGEN_LINE6][2];
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

/*
 * Waits until the packet's batch is due, and says when that was. A packet that is late keeps the
 * time at which it should have gone, so that its latency counts what it waited behind others.
 */
static __always_inline __u64 wait_until_due(struct xdpgen_state *own)
{
	__u64 now;

	if (own->left) {
		own->left -= 1;
		return own->due;
	}
	now = bpf_ktime_get_ns();
	own->due = own->due && flow.gap ? own->due + flow.gap : now;
	for (int i = 0; i < XDPGEN_SPINS && now < own->due; i++)
		now = bpf_ktime_get_ns();
	if (now < own->due) /* too slow a pace to spin for: it goes now, and is not early */
		own->due = now;
	own->left = flow.batch - 1;
	return own->due;
}

static __always_inline int send4(struct xdp_md *ctx, struct xdpgen_state *own, const bool stamped)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 index = own->cursor4, number = flow.v4.first + index / XDPGEN_LINE4, source;
	const struct xdpgen_line *line = bpf_map_lookup_elem(&sources, &number);
	__u64 *words = data;

	if (!line || data + (stamped ? XDPGEN4_STAMP + XDPGEN_STAMP_BYTES : XDPGEN4_BYTES) > end)
		return XDP_ABORTED;
	source = line->v4[index % XDPGEN_LINE4];
	own->cursor4 = index + 1 < flow.v4.sources ? index + 1 : 0;
	own->offered += 1;
	words[0] = flow.v4.frame[0];
	words[1] = flow.v4.frame[1];
	words[2] = flow.v4.frame[2];
	words[3] = flow.v4.frame[3];
	words[4] = flow.v4.frame[4];
	words[5] = flow.v4.frame[5];
	words[6] = flow.v4.frame[6];
	*(__u16 *)(data + XDPGEN4_CHECKSUM) =
		fold(flow.v4.sum + (source & 0xffff) + (source >> 16));
	*(__u32 *)(data + XDPGEN4_SOURCE) = source;
	*(__be32 *)(data + XDPGEN4_ID) = bpf_htonl(own->id++);
	if (stamped)
		*(__u64 *)(data + XDPGEN4_STAMP) = wait_until_due(own);
	return bpf_redirect(flow.ifindex, 0);
}

static __always_inline int send6(struct xdp_md *ctx, struct xdpgen_state *own, const bool stamped)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 index = own->cursor6, number = flow.v6.first + index / XDPGEN_LINE6, id, sum;
	const struct xdpgen_line *line = bpf_map_lookup_elem(&sources, &number);
	__u64 *words = data, high, low, stamp;
	__u16 folded;

	if (!line || data + XDPGEN6_BYTES + (stamped ? XDPGEN_STAMP_BYTES : 0) > end)
		return XDP_ABORTED;
	high = line->v6[index % XDPGEN_LINE6][0];
	low = line->v6[index % XDPGEN_LINE6][1];
	own->cursor6 = index + 1 < flow.v6.sources ? index + 1 : 0;
	own->offered += 1;
	id = bpf_htonl(own->id++);
	sum = flow.v6.sum + sum_words(high) + sum_words(low) + (id & 0xffff) + (id >> 16);
	if (stamped) {
		stamp = wait_until_due(own);
		*(__u64 *)(data + XDPGEN6_STAMP) = stamp;
		sum += sum_words(stamp);
	}
	folded = fold(sum);
	words[0] = flow.v6.frame[0];
	words[1] = flow.v6.frame[1];
	words[2] = flow.v6.frame[2];
	words[4] = flow.v6.frame[4];
	words[5] = flow.v6.frame[5];
	words[6] = flow.v6.frame[6];
	words[7] = flow.v6.frame[7];
	words[8] = flow.v6.frame[8];
	*(__u64 *)(data + XDPGEN6_SOURCE) = high;
	*(__u64 *)(data + XDPGEN6_SOURCE + 8) = low;
	/* Zero would say "no checksum", which IPv6 forbids. */
	*(__u16 *)(data + XDPGEN6_CHECKSUM) = folded ? folded : 0xffff;
	*(__be32 *)(data + XDPGEN6_ID) = id;
	return bpf_redirect(flow.ifindex, 0);
}

static __always_inline int send_mixed(struct xdp_md *ctx, struct xdpgen_state *own,
				      const bool stamped)
{
	own->turn += 1;
	if (own->turn < flow.every || !flow.every)
		return send4(ctx, own, stamped);
	own->turn = 0;
	return send6(ctx, own, stamped);
}

static __always_inline struct xdpgen_state *find_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

SEC("xdp")
int xdpgen(struct xdp_md *ctx)
{
	struct xdpgen_state *own = find_state();

	if (!own)
		return XDP_ABORTED;
	return flow.every ? send6(ctx, own, false) : send4(ctx, own, false);
}

SEC("xdp")
int xdpgen_mixed(struct xdp_md *ctx)
{
	struct xdpgen_state *own = find_state();

	return own ? send_mixed(ctx, own, false) : XDP_ABORTED;
}

SEC("xdp")
int xdpgen_stamped(struct xdp_md *ctx)
{
	struct xdpgen_state *own = find_state();

	return own ? send_mixed(ctx, own, true) : XDP_ABORTED;
}

/* The payload's id and the checksum of a TCP packet, all else of which is written. */
static __always_inline void finish_tcp(void *data, __u32 sum, __u32 source, __be32 id)
{
	sum += (source & 0xffff) + (source >> 16) + (id & 0xffff) + (id >> 16);
	*(__be32 *)(data + XDPGEN_TCP_ID) = id;
	*(__u16 *)(data + XDPGEN_TCP_CHECKSUM) = fold(sum);
}

/* The next packet of a class. Its id is the source's number, so that the sink can tell sources apart. */
static __always_inline int send_of(struct xdp_md *ctx, struct xdpgen_progress *own, __u32 number)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct xdpgen_class *class = &blend.classes[number];
	__u32 index = own->cursor[number], line_number = class->first + index / XDPGEN_LINE4;
	const struct xdpgen_line *line = bpf_map_lookup_elem(&sources, &line_number);
	__u64 *words = data;
	__u32 source;

	if (!line || data + XDPGEN_TCP_BYTES > end)
		return XDP_ABORTED;
	source = line->v4[index % XDPGEN_LINE4];
	own->cursor[number] = index + 1 < class->sources ? index + 1 : 0;
	own->sent[number] += 1;
	words[0] = class->frame[0];
	words[1] = class->frame[1];
	words[2] = class->frame[2];
	words[3] = class->frame[3];
	words[4] = class->frame[4];
	words[5] = class->frame[5];
	words[6] = class->frame[6];
	words[7] = class->frame[7];
	*(__u16 *)(data + XDPGEN_TCP_TAIL) = (__u16) class->frame[8];
	*(__u16 *)(data + XDPGEN4_CHECKSUM) = fold(class->sum + (source & 0xffff) + (source >> 16));
	*(__u32 *)(data + XDPGEN4_SOURCE) = source;
	if (class->is_tcp)
		finish_tcp(data, class->tcp_sum, source, bpf_htonl(index));
	else
		*(__be32 *)(data + XDPGEN4_ID) = bpf_htonl(index);
	return bpf_redirect(blend.ifindex, 0);
}

SEC("xdp")
int xdpgen_blend(struct xdp_md *ctx)
{
	struct xdpgen_progress *own;
	__u32 zero = 0, turn;

	own = bpf_map_lookup_elem(&progress, &zero);
	if (!own)
		return XDP_ABORTED;
	turn = own->turn;
	own->turn = turn + 1 < blend.turns ? turn + 1 : 0;
	return send_of(ctx, own, blend.pattern[turn % XDPGEN_TURNS] % XDPGEN_CLASSES);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
