// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Bans: sources that went over a limit with action ban. Only for packets of a connection whose peer answered
 * what we sent, or anybody could have anybody else banned; not of the gateway itself, nor of the operator;
 * and only so many in a second. Those of the operator are entries of lists, and not here.
 */
#ifndef NW_BANS_H
#define NW_BANS_H

#include "config.h"
#include "events.h"
#include "maps.h"
#include "segment.h"

#define EXISTS 17 /* EEXIST */

static __always_inline __u64 defence_clock(void)
{
#ifdef NW_VIRTUAL_TIME
	__u32 zero = 0;
	const __u64 *now = bpf_map_lookup_elem(&virtual_time, &zero);

	return now ? *now : 0;
#else
	return bpf_ktime_get_ns();
#endif
}

/* The same to the tick, of up to 10 ms: half of what the other costs. */
static __always_inline __u64 defence_clock_coarse(void)
{
#ifdef NW_VIRTUAL_TIME
	return defence_clock();
#else
	return bpf_ktime_get_coarse_ns();
#endif
}

static __always_inline void ban_key(const struct segment *segment, struct nw_ban_key *key)
{
	__builtin_memcpy(key->address, segment->source, sizeof(key->address));
	key->family = segment->family;
}

/* Whether a limit banned the source, and the ban goes on. */
static __noinline __u32 is_banned(const struct segment *segment)
{
	__u32 zero = 0;
	const struct nw_ban_state *state = bpf_map_lookup_elem(&ban_state, &zero);
	struct limit_work *work;
	const struct nw_ban *ban;

	if (!state || !segment || state->put == state->taken)
		return 0;
	work = bpf_map_lookup_elem(&limit_work, &zero);
	if (!work)
		return 0; /* cannot be */
	ban_key(segment, &work->key);
	ban = bpf_map_lookup_elem(&bans, &work->key);
	return ban && defence_clock() < ban->until;
}

/* Never to be banned: the gateway's own addresses and the sources of failsafe. */
static __always_inline int is_never_banned(const struct segment *segment, struct limit_work *work)
{
	work->prefix.length = NW_NEVER_BAN_BITS + 128;
	work->prefix.family = segment->family;
	__builtin_memcpy(work->prefix.address, segment->source, sizeof(work->prefix.address));
	if (segment->family == 4) {
		work->prefix.length = NW_NEVER_BAN_BITS + 32;
		__builtin_memcpy(work->prefix.address, &segment->source[3], 4);
		__builtin_memset(work->prefix.address + 4, 0, 12);
	}
	return bpf_map_lookup_elem(&never_ban, &work->prefix) != 0;
}

/* Within what this CPU may ban in a second, since CPUs do not share it. */
static __always_inline int may_ban(const struct nw_ban_state *state, struct limit_work *work)
{
	__u64 second = work->now >> 30; /* about */

	if (work->ban_second != second) {
		work->ban_second = second;
		work->bans = 0;
	}
	return work->bans++ < state->per_second;
}

/* Put the ban into the map; whether it is there. */
static __always_inline int put_ban(struct nw_ban_state *state, struct limit_work *work)
{
	long error = bpf_map_update_elem(&bans, &work->key, &work->ban, BPF_NOEXIST);

	if (!error) {
		__sync_fetch_and_add(&state->put, 1);
		return 1;
	}
	/* One that is over, and was not taken out yet. */
	return error == -EXISTS && !bpf_map_update_elem(&bans, &work->key, &work->ban, BPF_EXIST);
}

/* Ban the source for as long as the limit in work->banned_by says. */
static __noinline void ban_source(const struct segment *segment, struct limit_work *work)
{
	__u32 zero = 0, slot = work ? work->banned_by - 1 : 0;
	struct nw_ban_state *state = bpf_map_lookup_elem(&ban_state, &zero);
	struct nw_limit_counter *counter = bpf_map_lookup_elem(&limit_counters, &slot);
	const struct nw_limit *limit = bpf_map_lookup_elem(&limits, &slot);

	if (!segment || !work || !state || !counter || !limit)
		return;
	ban_key(segment, &work->key);
	work->ban.until = work->now + limit->ban_ns;
	work->ban.limit = limit->identity;
	if (!is_never_banned(segment, work) && may_ban(state, work) && put_ban(state, work)) {
		counter->bans++;
		emit_segment(NW_EVENT_BAN, NW_REASON_LIMITED, slot, limit->ban_ns);
	} else {
		counter->bans_refused++;
	}
}

#endif
