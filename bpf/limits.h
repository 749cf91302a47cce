// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Limits: how much of what may come in a time, by source, by prefix, by port or in all.
 */
#ifndef NW_LIMITS_H
#define NW_LIMITS_H

#include "config.h"
#include "maps.h"
#include "segment.h"

/* Whether a limit banned the source, and the ban goes on. */
static __noinline __u32 is_banned(const struct segment *segment)
{
	return !segment;
}

/* Whether a packet is over a limit that drops; those that only watch count it. */
static __noinline __u32 is_over_limit(const struct segment *segment, __u32 of_known_flow)
{
	return !segment && of_known_flow;
}

#endif
