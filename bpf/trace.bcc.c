// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Where one address's packets go in the kernel: counted at tracepoints, nothing is changed. Compiled by bcc on the
 * machine that it runs on. neurowall/kernel/trace.py puts in front of it, from this kernel's own BTF, where fields
 * are (SKB_*, DEVICE_*, NET_INUM, SOCK_NET, DST_DEVICE, TASK_NSPROXY, NSPROXY_NET), and what to look for:
 * NAMESPACE, FAMILY 4 or 6, ADDRESS (words in network order), HAS_REASON.
 */

#define ETHERTYPE (FAMILY == 4 ? 0x0800 : 0x86DD)
#define SOURCE (FAMILY == 4 ? 12 : 8)
#define ADDRESS_BYTES (FAMILY == 4 ? 4 : 16)
#define REFERENCED 1UL /* SKB_DST_NOREF, the lowest bit of a pointer */

enum kind {
	DIED,
	RECEIVED,
	SENT,
	DELIVERED,
	CONSUMED,
	EXCEPTION
};

/* One place, the key of `places`. No padding. */
struct place {
	u64 location; /* who freed the packet */
	u32 kind;
	u32 reason; /* enum skb_drop_reason, or the XDP action */
	s32 stack; /* in `stacks`, negative: none */
	u32 ifindex;
	u32 to_it; /* 1: the address is the destination, 0: the source */
	u32 known; /* 1: it was in our network namespace, 0: nothing says where */
	char device[16];
};

struct tally {
	u64 packets;
	u64 bytes;
};

BPF_HASH(places, struct place, struct tally, 4096);
BPF_STACK_TRACE(stacks, 4096);
BPF_ARRAY(lost, u64, 1);

static __always_inline u64 word(u64 base, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

static __always_inline u32 number_of(u64 net)
{
	u32 number = 0;

	if (net)
		bpf_probe_read_kernel(&number, sizeof(number), (void *)(net + NET_INUM));
	return number;
}

/* The namespace that a packet is in; 0 if neither device, socket nor route tells. A device may be rubbish: sockets
 * use its place for other things. */
static __always_inline u32 namespace_of(u64 skb)
{
	u64 device = word(skb, SKB_DEVICE), sock, route;
	u32 number = device ? number_of(word(device, DEVICE_NET)) : 0;

	if (number)
		return number;
	sock = word(skb, SKB_SOCK);
	number = sock ? number_of(word(sock, SOCK_NET)) : 0;
	if (number)
		return number;
	route = word(skb, SKB_DST) & ~REFERENCED;
	device = route ? word(route, DST_DEVICE) : 0;
	return device ? number_of(word(device, DEVICE_NET)) : 0;
}

/* 1: the packet is to the address, 0: from it, negative: neither. */
static __always_inline int direction(u64 skb)
{
	const u32 wanted[4] = ADDRESS;
	u32 ends[8] = {};
	u16 ethertype = 0, header = 0;
	u64 at;
	int from = 1, to = 1, i;

	bpf_probe_read_kernel(&ethertype, sizeof(ethertype), (void *)(skb + SKB_PROTOCOL));
	if (ethertype != bpf_htons(ETHERTYPE))
		return -1;
	bpf_probe_read_kernel(&header, sizeof(header), (void *)(skb + SKB_NETWORK_HEADER));
	at = word(skb, SKB_HEAD) + header + SOURCE;
	if (bpf_probe_read_kernel(ends, 2 * ADDRESS_BYTES, (void *)at))
		return -1;
#pragma unroll
	for (i = 0; i < ADDRESS_BYTES / 4; i++) {
		from &= ends[i] == wanted[i];
		to &= ends[ADDRESS_BYTES / 4 + i] == wanted[i];
	}
	return to ? 1 : from ? 0 : -1;
}

static __always_inline void name_device(struct place *place, u64 device)
{
	if (!device)
		return;
	bpf_probe_read_kernel(&place->ifindex, sizeof(place->ifindex),
			      (void *)(device + DEVICE_INDEX));
	bpf_probe_read_kernel(place->device, sizeof(place->device), (void *)(device + DEVICE_NAME));
}

static __always_inline void count(struct place *place, u64 bytes)
{
	struct tally none = {}, *tally = places.lookup_or_try_init(place, &none);
	int zero = 0;

	if (tally) {
		__sync_fetch_and_add(&tally->packets, 1);
		__sync_fetch_and_add(&tally->bytes, bytes);
		return;
	}
	lost.atomic_increment(zero);
}

static __always_inline u64 length(u64 skb)
{
	return (u32)word(skb, SKB_LENGTH);
}

/* What all but the last have in common: is it the address? */
static __always_inline int concerns(struct place *place, u64 skb, u32 kind)
{
	int to_it = direction(skb);

	if (to_it < 0)
		return 0;
	place->kind = kind;
	place->to_it = to_it;
	place->stack = -1;
	return 1;
}

int on_kfree_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0];
	struct place place = {};
	u32 namespace;

	if (!concerns(&place, skb, DIED))
		return 0;
	namespace = namespace_of(skb);
	if (namespace && namespace != NAMESPACE)
		return 0;
	place.known = namespace != 0;
	place.location = ctx->args[1];
#if HAS_REASON
	place.reason = ctx->args[2];
#endif
	place.stack = stacks.get_stackid(ctx, 0);
	if (number_of(word(word(skb, SKB_DEVICE), DEVICE_NET)) == NAMESPACE)
		name_device(&place, word(skb, SKB_DEVICE));
	count(&place, length(skb));
	return 0;
}

/* The namespace of the running process. */
static __always_inline u32 namespace_of_task(void)
{
	return number_of(word(word(bpf_get_current_task(), TASK_NSPROXY), NSPROXY_NET));
}

/* A packet that waited at a UDP socket has lost its device: the program that reads it says where. Not since Linux
 * 6.18, which tells nothing of those. */
int on_consume_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0];
	struct place place = {};
	u32 namespace;

	if (!concerns(&place, skb, CONSUMED))
		return 0;
	namespace = namespace_of(skb);
	if (!namespace) {
		namespace = namespace_of_task();
		place.kind = DELIVERED;
	}
	if (namespace != NAMESPACE)
		return 0;
	place.known = 1;
	count(&place, length(skb));
	return 0;
}

int on_netif_receive_skb(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0];
	struct place place = {};

	if (!concerns(&place, skb, RECEIVED) || namespace_of(skb) != NAMESPACE)
		return 0;
	place.known = 1;
	name_device(&place, word(skb, SKB_DEVICE));
	count(&place, length(skb));
	return 0;
}

int on_net_dev_start_xmit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0], device = ctx->args[1];
	struct place place = {};

	if (!concerns(&place, skb, SENT) || number_of(word(device, DEVICE_NET)) != NAMESPACE)
		return 0;
	place.known = 1;
	name_device(&place, device);
	count(&place, length(skb));
	return 0;
}

/* Each time that a program reads of a packet that is not short. */
int on_skb_copy_datagram_iovec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 skb = ctx->args[0];
	struct place place = {};

	if (!concerns(&place, skb, DELIVERED) || namespace_of_task() != NAMESPACE)
		return 0;
	place.known = 1;
	count(&place, length(skb));
	return 0;
}

/* The kernel shows no packet here: whatever the address. */
int on_xdp_exception(struct bpf_raw_tracepoint_args *ctx)
{
	u64 device = ctx->args[0];
	struct place place = {};

	if (number_of(word(device, DEVICE_NET)) != NAMESPACE)
		return 0;
	place.kind = EXCEPTION;
	place.reason = ctx->args[2];
	place.stack = -1;
	place.known = 1;
	name_device(&place, device);
	count(&place, 0);
	return 0;
}
