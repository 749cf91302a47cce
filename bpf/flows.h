// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Flows: connections that the protected side began, and what of the others' packets belongs to them.
 */
#ifndef NW_FLOWS_H
#define NW_FLOWS_H

#include "config.h"
#include "maps.h"
#include "segment.h"

/* What the flows say of a packet that comes in. */
enum flow_answer {
	FLOW_UNKNOWN = 0, /* of no flow, and it may go on */
	FLOW_KNOWN,
	FLOW_OUT_OF_STATE, /* of no flow, and it is not what may begin one */
	FLOW_BAD_SEQUENCE, /* of a flow, but its numbers cannot be the peer's */
};

static __noinline __u32 flow_of(const struct segment *segment)
{
	return segment ? FLOW_UNKNOWN : FLOW_OUT_OF_STATE;
}

#endif
