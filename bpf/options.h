// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TCP options, of which only the window scale is of interest, and only in SYN and SYN-ACK.
 */
#ifndef NW_OPTIONS_H
#define NW_OPTIONS_H

#include "parse.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_SCALE 3
#define TCP_OPTIONS 12 /* looked at; what lies behind them is not seen */
#define L4_OFFSET_MASK \
	0x3FF /* of transport headers within a frame, as far as they are looked at again */

/*
 * The window scale that the TCP header at *offset* offers, NW_SCALE_NONE if it offers none, NW_SCALE_MAX if that
 * could not be seen: then windows are taken for larger than they are, and nothing is dropped that should not be.
 */
static __always_inline __u8 window_scale(void *data, void *end, __u32 offset)
{
	struct tcphdr *tcp = data + (offset & L4_OFFSET_MASK);
	__u32 at = sizeof(*tcp), header;

	if (offset > L4_OFFSET_MASK || (void *)(tcp + 1) > end)
		return NW_SCALE_MAX;
	header = tcp->doff * 4;
	for (int i = 0; i < TCP_OPTIONS; i++) {
		__u8 *option = (void *)tcp + (at & 63);
		__u64 is_nop;
		__u32 length;

		if (at + 2 > header)
			return NW_SCALE_NONE;
		if ((void *)(option + 3) > end) /* a scale takes three bytes */
			return option + 2 > (__u8 *)end ? NW_SCALE_MAX : NW_SCALE_NONE;
		if (option[0] == TCP_OPTION_END)
			return NW_SCALE_NONE;
		if (option[0] == TCP_OPTION_SCALE)
			return option[2] < NW_SCALE_MAX ? option[2] : NW_SCALE_MAX;
		is_nop = equals(option[0], TCP_OPTION_NOP);
		length = (option[1] & (is_nop - 1)) | is_nop;
		if (!length)
			return NW_SCALE_NONE;
		at += length;
	}
	return NW_SCALE_MAX;
}

#endif
