# SPDX-License-Identifier: Apache-2.0
"""The shipped object in the kernel, fed by BPF_PROG_RUN, its maps written by hand.

Map contents are packed here from what bpf/lists.h and bpf/maps.h say, not with the code of
neurowall.kernel.dataplane: a mistake made twice alike would cancel itself out.
"""

import ctypes as c
import errno
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple, SupportsBytes

from neurowall.kernel import layout, layout_flows, libbpf, objects
from neurowall.model.flows import FlowEvent
from neurowall.model.reasons import Reason, Verdict
from tests.bpf.tables import ADDENDS, FILTER4_BITS, MULTIPLIERS, BucketTable, Tables4
from tests.bpf.tables6 import Tables6

PASS, DROP = "pass", "drop"
Frame = SupportsBytes | bytearray  # bytes, or a packet of scapy
LOOPBACK = 1  # what PROG_RUN gives as ingress_ifindex unless told otherwise
CLASSES = 64
CAPACITY = 256
_CLASS_VERDICTS = {PASS: 0, DROP: 1, "none": 2}
_TIMED = {"": 0, "allow": 1, "block": 2}
_ACTIONS = {libbpf.XDP_DROP: DROP, libbpf.XDP_PASS: PASS}
_KEY_SIZES = {"hosts4": 4, "prefixes4": 8, "hosts6": 16, "prefixes6": 20}
_BUCKETS_ONLY = (
    *("lines", "filter4", "bitmap", "nets4", "long4", "registry4"),
    *("lines6", "filter6", "lengths6", "spilled6"),
)
_PER_CPU = (
    *("reason_counters", "class_counters", "last_class", "segments"),
    *("event_budgets", "event_draft"),
    *("limit_counters", "limit_work"),
    *("flow_guard", "flow_events", "flow_scratches"),
)
_LIMITS_ONLY = ("limits", "limit_sites", "limit_ports", "limit_lines")
_LIMITS_OR_BANS = ("limit_counters", "limit_work", "bans", "ban_state", "never_ban")
_REASONS = len(Reason)


class Answer(NamedTuple):
    """What the program did with a frame, and the one reason it counted."""

    action: str  # "pass" | "drop"
    reason: Reason


def _possible_cpus() -> int:
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().rpartition("-")[2]) + 1


def _packed_in_16(address: str) -> bytes:
    return ip_address(address).packed.rjust(16, b"\0")


class Firewall:
    """One loaded program with maps of its own. close() it."""

    def __init__(
        self,
        *,
        engine: str = "buckets",
        unparsed: str = DROP,
        failsafe: bool = False,
        dry_run: bool = False,
        networks: bool = False,
        destinations: bool = False,
        events: bool = False,
        limits: bool = False,
        bans: bool = False,
        internal: bool = False,
        spoofing: bool = False,
        bogons: bool = False,
        flows: str = "",
        zone: int = 1,
        flow_entries: int = 1024,
        lines: int = 64,
        path: Path | None = None,
    ) -> None:
        """Load *path* (default: the shipped object) for a role; *lines* is a power of two from 2.

        With *networks*, *destinations* or *internal* it is the program of internal interfaces.
        *flows* is "strict" or "loose": then the program at egress is there too, see tests/bpf/flowworld.py.
        """
        self.engine, self.lines = engine, lines
        self._cpus = _possible_cpus()
        self._population = dict.fromkeys(_KEY_SIZES, 0)
        self._object = libbpf.Object(path or objects.path("neurowall"))
        config = layout.Config(
            abi=layout.Constant.ABI,
            engine=layout.Engine[engine.upper()],
            line_shift=64 - lines.bit_length() + 1,
            line_mask=lines - 1,
            long_shift=64 - lines.bit_length() + 1,
            long_mask=lines - 1,
            line6_shift=64 - lines.bit_length() + 1,
            line6_mask=lines - 1,
            unparsed_verdict=Verdict[unparsed.upper()],
            failsafe=failsafe,
            dry_run=dry_run,
            networks=networks,
            destinations=destinations,
            events=events,
            limits=limits,
            bans=bans,
            spoofing=spoofing,
            bogons=bogons,
            flows=layout_flows.FlowMode[flows.upper() or "OFF"],
            zone=zone,
        )
        config.hash_multiplier[:] = list(MULTIPLIERS)
        config.hash_addend[:] = list(ADDENDS)
        programs = ["nw_ingress", "nw_internal"]
        program = programs.pop(networks or destinations or internal)
        for name in (*programs, *(() if flows else ("nw_egress",))):
            self._object.skip_program(name)
        for name in ("flows", "half_flows"):
            self._object.set_max_entries(name, flow_entries)
        used = {"failsafe": failsafe, "networks": networks or spoofing or bogons, "events": events}
        used |= dict.fromkeys(_LIMITS_ONLY, limits) | dict.fromkeys(_LIMITS_OR_BANS, limits or bans)
        self._load(config, **used)
        self._program = self._object.program_fd(program)
        self._egress = self._object.program_fd("nw_egress") if flows else -1
        self._counters = self._object.map_fd("reason_counters")
        self._before = self.reason_counters()
        self.tables: Tables4 | None = None
        self.tables6: Tables6 | None = None
        if engine == "buckets":
            hosts, longer = (BucketTable(self._fd(name), lines) for name in ("lines", "long4"))
            filter4, bitmap, nets4 = (self._fd(name) for name in ("filter4", "bitmap", "nets4"))
            self.tables = Tables4(hosts, longer, filter4, bitmap, nets4)
            self.tables6 = Tables6(self._fd("lines6"), lines, self._fd("filter6"), self._fd("lengths6"))

    def _load(self, config: layout.Config, **used: bool) -> None:
        self._object.set_constants(bytes(config))
        for name in _KEY_SIZES:
            self._object.set_max_entries(name, CAPACITY)
            self._object.set_max_entries(f"timed_{name}", CAPACITY)
        for name in ("classes", "class_counters"):
            self._object.set_max_entries(name, CLASSES)
        for name in ("lines", "long4", "lines6"):
            self._object.set_max_entries(name, self.lines)
        self._object.set_max_entries("spilled6", CAPACITY)
        self._object.set_max_entries("filter4", max(1, self.lines * FILTER4_BITS // 64))
        skipped = () if self.engine == "buckets" else _BUCKETS_ONLY
        unused = [name for name, is_used in used.items() if not is_used]
        for name in (*skipped, *unused):
            self._object.skip_map(name)
        self._object.load()

    def close(self) -> None:
        """Take the program and its maps out of the kernel."""
        if self.tables and self.tables6:
            self.tables.close()
            self.tables6.close()
        self._object.close()

    # -- frames

    def run(self, packet: Frame) -> Answer:
        """Run the program on a frame (bytes or scapy) and find its reason in the counters.

        Exactly one reason must have counted one packet and every byte of the frame, and have the
        verdict that the program returned.
        """
        frame = bytes(packet)
        action = self.run_uncounted(frame)
        after = self.reason_counters()
        changed = [i for i in range(_REASONS) if after[i] != self._before[i]]
        assert len(changed) == 1, f"counted under {[Reason(i).name for i in changed]}: {frame.hex()}"
        reason = Reason(changed[0])
        packets, count = self._before[reason]
        assert after[reason] == (packets + 1, count + len(frame))
        assert action == reason.verdict.label, f"{action} for {reason.name}: {frame.hex()}"
        self._before = after
        return Answer(action, reason)

    def run_uncounted(self, packet: Frame, ifindex: int | None = None) -> str:
        """Run the program and answer only what it returned; *ifindex* is where the frame came in."""
        frame = bytes(packet)
        # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0) if ifindex else None
        return _ACTIONS[self._answer(frame, context) & 3]

    def run_dry(self, packet: Frame) -> tuple[str, Reason, int, int]:
        """What a dry run answers: action, reason, class, and 1 + the slot of a limit."""
        answer = self._answer(bytes(packet), None)
        return _ACTIONS[answer & 3], Reason(answer >> 2 & 63), answer >> 8 & 0x7FFF, answer >> 23

    def _answer(self, frame: bytes, context: bytes | None) -> int:
        return libbpf.program_run(self._program, frame, context=context)[0]

    @property
    def program(self) -> int:
        """Its descriptor, for who runs it without looking at each answer."""
        return self._program

    def settle(self) -> None:
        """Take the counters as they are: run() looks at what changes from here on."""
        self._before = self.reason_counters()

    def leave(self, packet: Frame, gso: tuple[int, int] | None = None) -> None:
        """Have a frame leave: run the program of egress, which must let it go on.

        *gso*: how many segments it becomes, and of what size. Source: struct __sk_buff in linux/bpf.h.
        """
        frame = bytes(packet)
        context = None
        if gso:
            whole = bytearray(192)
            struct.pack_into("=I", whole, 164, gso[0])
            struct.pack_into("=I", whole, 176, gso[1])
            context = bytes(whole)
        answer = libbpf.program_run(self._egress, frame, context=context)[0]
        assert answer == 0xFFFFFFFF, f"egress answered {answer}: {frame.hex()}"

    def program_size(self, *, egress: bool = False) -> tuple[int, int, int]:
        """Bytes of its code for the kernel and for the CPU, and instructions that the verifier followed."""
        info = libbpf.program_info(self._egress if egress else self._program)
        return int(info.xlated_prog_len), int(info.jited_prog_len), int(info.verified_insns)

    def reason_counters(self) -> list[tuple[int, int]]:
        """(packets, bytes) of every reason, in the order of the enum, summed over CPUs."""
        keys = (c.c_uint32 * _REASONS)()
        values = (c.c_uint64 * (_REASONS * self._cpus * 2))()
        following = c.c_uint64()
        done, _last = libbpf.map_lookup_batch(
            self._counters, None, c.addressof(following), c.addressof(keys), c.addressof(values), _REASONS
        )
        assert done == _REASONS
        width = 2 * self._cpus
        rows = [values[i * width : (i + 1) * width] for i in range(_REASONS)]
        return [(sum(row[::2]), sum(row[1::2])) for row in rows]

    def class_counter(self, class_id: int) -> tuple[int, int]:
        """(packets, bytes) of a class, summed over CPUs."""
        fd = self._object.map_fd("class_counters")
        raw = libbpf.map_lookup(fd, struct.pack("=I", class_id), 16 * self._cpus)
        assert raw is not None
        row = struct.unpack(f"={2 * self._cpus}Q", raw)
        return sum(row[::2]), sum(row[1::2])

    # -- lists

    def _fd(self, name: str) -> int:
        return self._object.map_fd(name)

    @property
    def cpus(self) -> int:
        """How many values an element of a per-CPU map has."""
        return self._cpus

    @property
    def egress(self) -> int:
        """The program at egress."""
        return self._egress

    @property
    def program_fd(self) -> int:
        """The loaded program."""
        return self._program

    def map_fd(self, name: str) -> int:
        """One of its maps."""
        return self._fd(name)

    def put_class(self, class_id: int, verdict: str, timed: str = "", rest: int = 0) -> None:
        """Say what a class means; *timed* is "allow" or "block" if it ends, *rest* the one after it."""
        numbers = (_CLASS_VERDICTS[verdict], 1, _TIMED[timed], rest)
        libbpf.map_update(self._fd("classes"), struct.pack("=I", class_id), struct.pack("=4I", *numbers))

    def put_expiry(self, entry: str, *, allow_until: int = 0, block_until: int = 0) -> None:
        """Say until when the timed classes of an entry hold: nanoseconds of CLOCK_MONOTONIC."""
        network = ip_network(entry)
        key, kind = network.network_address.packed, "hosts"
        if network.prefixlen != network.max_prefixlen:
            key, kind = struct.pack("=I", network.prefixlen) + key, "prefixes"
        value = struct.pack("=QQ", allow_until, block_until)
        libbpf.map_update(self._fd(f"timed_{kind}{network.version}"), key, value)

    def put(self, entry: str, class_id: int) -> None:
        """List an address or prefix of either family, where the engine looks for it."""
        network = ip_network(entry)
        is_host = network.prefixlen == network.max_prefixlen
        if isinstance(network, IPv4Network) and self.tables:
            self._put_in_tables(self.tables, network, class_id)
            return
        if isinstance(network, IPv6Network) and self.tables6:
            if not self.tables6.insert(network, class_id):
                self.put_spilled6(network, class_id)
            return
        if is_host:
            self.put_in_map(f"hosts{network.version}", network.network_address.packed, class_id)
        else:
            self.put_in_trie(network, class_id)

    def _put_in_tables(self, tables: Tables4, network: IPv4Network, class_id: int) -> None:
        number = int(network.network_address)
        if network.prefixlen == 32:
            tables.mark_host(number)
            if not tables.hosts.insert(number, number << 32 | class_id << 16):
                self.put_in_map("hosts4", number.to_bytes(4, "big"), class_id)
        elif network.prefixlen <= 24:
            tables.paint(network, class_id)
        elif not tables.insert_longer(network, class_id):
            self.put_in_trie(network, class_id)

    def put_in_map(self, name: str, key: bytes, value: int) -> None:
        """Put an element into a hash or trie, and count it."""
        self._population[name] += 1
        counts = struct.pack("=4I", *(self._population[each] for each in _KEY_SIZES))
        libbpf.map_update(self._fd("population"), bytes(4), counts)
        libbpf.map_update(self._fd(name), key, struct.pack("=I", value))

    def put_in_trie(self, network: IPv4Network | IPv6Network, class_id: int) -> None:
        """Put a prefix into its family's trie; the value is length << 16 | class."""
        key = struct.pack("=I", network.prefixlen) + network.network_address.packed
        self.put_in_map(f"prefixes{network.version}", key, network.prefixlen << 16 | class_id)

    def put_spilled6(self, network: IPv6Network, class_id: int) -> None:
        """Put an entry where those are that found both lines full."""
        key = struct.pack("=I", network.prefixlen) + network.network_address.packed
        libbpf.map_update(self._fd("spilled6"), key, struct.pack("=I", class_id))

    def clear_lists(self) -> None:
        """Take every entry out."""
        for kind, size in _KEY_SIZES.items():
            for name in (kind, f"timed_{kind}"):
                for key in _keys(self._fd(name), size):
                    libbpf.map_delete(self._fd(name), key)
        self._population = dict.fromkeys(_KEY_SIZES, 0)
        libbpf.map_update(self._fd("population"), bytes(4), bytes(16))
        for key in _keys(self._fd("spilled6"), 20) if self.tables6 else ():
            libbpf.map_delete(self._fd("spilled6"), key)
        if self.tables and self.tables6:
            self.tables.clear()
            self.tables6.clear()

    # -- failsafe

    def put_failsafe(
        self,
        address: str,
        port: int,
        sources: Iterable[str],
        *,
        ifindex: int = LOOPBACK,
        packets_per_second: int = 1000,
        window: tuple[int, int] = (0, 0),
    ) -> None:
        """Keep the gateway's own *address* and TCP *port* open to *sources* on an interface.

        *window* is when the current second began, in nanoseconds of CLOCK_MONOTONIC, and its packets.
        """
        networks = [ip_network(source) for source in sources]
        key = struct.pack("=16sI", _packed_in_16(address), ifindex) + struct.pack(
            "!HBB", port, ip_address(address).version, 0
        )
        prefixes = [_packed_in_16(str(each.network_address)) for each in networks]
        masks = [_packed_in_16(str(each.netmask)) for each in networks]
        value = struct.pack("=QQII", *window, packets_per_second, len(networks))
        value += b"".join(prefixes).ljust(64, b"\0") + b"".join(masks).ljust(64, b"\0")
        libbpf.map_update(self._fd("failsafe"), key, value)

    # -- networks

    def put_network(self, text: str, *, ifindex: int = LOOPBACK) -> None:
        """Say that these addresses live behind an interface."""
        libbpf.map_update(self._fd("networks"), _network_key(text, ifindex, 0), bytes(4))

    def put_foreign(self, text: str, reason: Reason, *, ifindex: int = LOOPBACK) -> None:
        """Say that what comes from these addresses by an interface is dropped, and why."""
        self.mark_origin(text)
        key = _network_key(text, ifindex, 0x100)
        libbpf.map_update(self._fd("networks"), key, struct.pack("=I", reason))

    def mark_origin(self, text: str) -> None:
        """Set the bits that send sources in a prefix to the networks.

        IPv4: of first bytes. IPv6: of hashes of the /24s of 2000::/3, of first bytes of everything else.
        """
        network = ip_network(text)
        raw = libbpf.map_lookup(self._fd("origins"), bytes(4), 64)
        assert raw is not None
        words = list(struct.unpack("=8Q", raw))
        for bit in _marks4(network) if isinstance(network, IPv4Network) else _marks6(network):
            words[bit // 64] |= 1 << bit % 64
        libbpf.map_update(self._fd("origins"), bytes(4), struct.pack("=8Q", *words))

    def clear_networks(self) -> None:
        """Say that nothing lives behind any interface."""
        if (fd := self._fd("networks")) >= 0:
            for key in _keys(fd, 28):
                libbpf.map_delete(fd, key)

    # -- events

    def begin_window(self, number: int, per_window: int) -> None:
        """Give every reason and kind, on every CPU, so many events to tell of; window 0: none at all."""
        libbpf.map_update(self._fd("event_control"), bytes(4), struct.pack("=QQ", number, per_window))

    def event_budget(self, index: int) -> tuple[int, int, int]:
        """(suppressed, sent, lost) of a reason, or of len(Reason) + kind; summed over CPUs."""
        raw = libbpf.map_lookup(self._fd("event_budgets"), struct.pack("=I", index), 40 * self._cpus)
        assert raw is not None
        row = struct.unpack(f"={5 * self._cpus}Q", raw)
        return sum(row[2::5]), sum(row[3::5]), sum(row[4::5])

    @property
    def ring(self) -> int:
        """The fd of the ring."""
        return self._fd("events")

    # -- flows: see flowworld.py

    def clear_flows(self) -> None:
        """Forget every flow, and what was counted of them."""
        for name in ("flows", "half_flows"):
            for key in _keys(self._fd(name), 44):
                libbpf.map_delete(self._fd(name), key)
        libbpf.map_update(self._fd("flow_guard"), bytes(4), bytes(16 * self._cpus))
        for event in FlowEvent:
            libbpf.map_update(self._fd("flow_events"), struct.pack("=I", event), bytes(8 * self._cpus))

    def copy_flows(self, other: "Firewall") -> None:
        """Know the flows that *other* knows."""
        for name in ("flows", "half_flows"):
            for key in _keys(other._fd(name), 44):
                libbpf.map_update(
                    self._fd(name), key, libbpf.map_lookup(other._fd(name), key, c.sizeof(layout_flows.Flow))
                )

    # -- everything

    def dump(self) -> dict[str, object]:
        """Every element of every map, or its bytes where it is mapped, to prove that nothing changed."""
        found: dict[str, object] = {}
        if self.tables and self.tables6:
            found = {**self.tables.contents(), **self.tables6.contents()}
        for name in layout.MAPS.keys() - found.keys():
            if (fd := self._fd(name)) < 0 or name == "events":  # a ring has no elements
                continue
            info = libbpf.map_info(fd)
            width = int(info.value_size) * (self._cpus if name in _PER_CPU else 1)
            keys = sorted(_keys(fd, int(info.key_size)))
            found[name] = [(key, libbpf.map_lookup(fd, key, width)) for key in keys]
        return found


def _network_key(text: str, ifindex: int, kind: int) -> bytes:
    network = ip_network(text)
    address = network.network_address.packed.ljust(16, b"\0")
    return struct.pack("=III", 64 + network.prefixlen, ifindex, network.version | kind) + address


def _marks4(network: IPv4Network) -> set[int]:
    return {byte for byte in range(256) if network.overlaps(ip_network(f"{byte}.0.0.0/8"))}


def _marks6(network: IPv6Network) -> set[int]:
    marks = {256 + byte for byte in range(256) if network.overlaps(ip_network(f"{byte:x}00::/8"))}
    if not network.overlaps(ip_network("2000::/3")):
        return marks
    if network.prefixlen < 16:
        return set(range(256, 512))
    first = int(network.network_address) >> 104
    numbers = range(first, first + (1 << max(0, 24 - network.prefixlen)))
    return {256 + ((number * 0x9E3779B1 & 0xFFFFFFFF) >> 24) for number in numbers}


def _keys(fd: int, size: int) -> list[bytes]:
    keys: list[bytes] = []
    key = libbpf.map_next_key(fd, None, size)
    while key is not None:
        keys.append(key)
        key = libbpf.map_next_key(fd, key, size)
    return keys


def refused_as_too_short(run: Callable[[], object]) -> bool:
    """Whether PROG_RUN refuses a frame (under 14 bytes it does); other errors are raised."""
    try:
        run()
    except libbpf.LibbpfError as error:
        if error.errno != errno.EINVAL:
            raise
        return True
    return False
