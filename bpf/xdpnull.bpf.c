// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The floor and the ceiling of every comparison: an XDP program that only returns a verdict.
 * It counts nothing, because a counter would be work; the driver counts for it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Set before load: XDP_DROP or XDP_PASS. */
const volatile __u32 action = XDP_DROP;

SEC("xdp")
int xdpnull(struct xdp_md *ctx)
{
	(void)ctx;
	return action;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
