// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the harness's generator writes into a frame and its sink reads back: the UDP payload is
 * be32 magic, be32 kind, be32 id. bench/traffic/frame.py mirrors this; a test sends and compares.
 */
#ifndef BENCHMARK_H
#define BENCHMARK_H

#include <linux/types.h>

enum benchmark_limit {
	BENCHMARK_MAGIC = 0x4e57626e, /* "NWbn" */
	BENCHMARK_KINDS = 8, /* flood, clean, probe, ...: see enum Kind in bench/traffic/base.py */
	BENCHMARK_KIND_PROBE = 2, /* the kind whose ids are marked on arrival, one by one */
};

struct benchmark_payload {
	__be32 magic;
	__be32 kind;
	__be32 id;
};

#endif
