// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the harness's generator writes into a frame and its sink reads back: the UDP payload is
 * be32 magic, be32 kind, be32 id; behind the magic of stamped packets, the time follows at which
 * the packet was due, 64 bits in the byte order and on the clock (bpf_ktime_get_ns) of this machine.
 * bench/traffic/frame.py and sink.py mirror this; tests send and compare.
 */
#ifndef BENCHMARK_H
#define BENCHMARK_H

#include <linux/types.h>

enum benchmark_limit {
	BENCHMARK_MAGIC = 0x4e57626e, /* "NWbn" */
	BENCHMARK_MAGIC_STAMPED = 0x4e576273, /* "NWbs" */
	BENCHMARK_KINDS = 8, /* flood, clean, probe, ...: see enum Kind in bench/traffic/base.py */
	BENCHMARK_KIND_PROBE = 2, /* the kind whose ids are marked on arrival, one by one */
	/* Buckets of latencies: 2^STEP_BITS in each octave, so a bucket is 1.6 % wide; below that many
	 * nanoseconds each has a bucket of its own. What takes 2^OCTAVES ns or longer is in the last.
	 */
	BENCHMARK_STEP_BITS = 6,
	BENCHMARK_OCTAVES = 34,
	BENCHMARK_BUCKETS = (BENCHMARK_OCTAVES - BENCHMARK_STEP_BITS + 1) << BENCHMARK_STEP_BITS,
};

struct benchmark_payload {
	__be32 magic;
	__be32 kind;
	__be32 id;
	__u32 due[2]; /* of stamped packets: not aligned, and not there in others */
};

#endif
