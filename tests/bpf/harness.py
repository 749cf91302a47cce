# SPDX-License-Identifier: Apache-2.0
"""The shipped object in the kernel, fed by BPF_PROG_RUN, its maps written by hand.

Map contents are packed here from what bpf/lists.h and bpf/maps.h say, not with the code of
neurowall.kernel.dataplane: a mistake made twice alike would cancel itself out.
"""

import ctypes as c
import errno
import mmap
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple, SupportsBytes

from neurowall.kernel import layout, libbpf, objects
from neurowall.model.reasons import Reason, Verdict

PASS, DROP = "pass", "drop"
LOOPBACK = 1  # what PROG_RUN gives as ingress_ifindex unless told otherwise
CLASSES = 64
CAPACITY = 256
_ACTIONS = {libbpf.XDP_DROP: DROP, libbpf.XDP_PASS: PASS}
_LISTS = ("hosts4", "prefixes4", "hosts6", "prefixes6")
_REASONS = len(Reason)
# Any odd multipliers do; these spread neighbours, which the tests of overflow do not rely on.
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_ADDENDS = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


class Answer(NamedTuple):
    """What the program did with a frame, and the one reason it counted."""

    action: str  # "pass" | "drop"
    reason: Reason


class Line(NamedTuple):
    """A line of the bucket table as Python sees it."""

    slots: list[int]
    metadata: int


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
        lines: int = 64,
        path: Path | None = None,
    ) -> None:
        """Load *path* (default: the shipped object) for a role; *lines* is a power of two from 2."""
        self.engine, self.lines = engine, lines
        self._cpus = _possible_cpus()
        self._population = dict.fromkeys(_LISTS, 0)
        self._object = libbpf.Object(path or objects.path("neurowall"))
        config = layout.Config(
            abi=layout.Constant.ABI,
            engine=layout.Engine[engine.upper()],
            line_shift=64 - lines.bit_length() + 1,
            line_mask=lines - 1,
            unparsed_verdict=Verdict[unparsed.upper()],
            failsafe=failsafe,
            dry_run=dry_run,
        )
        config.hash_multiplier[:] = list(_MULTIPLIERS)
        config.hash_addend[:] = list(_ADDENDS)
        self._load(config, failsafe=failsafe)
        self._program = self._object.program_fd("nw_ingress")
        self._counters = self._object.map_fd("reason_counters")
        self._before = self.reason_counters()
        self._bitmap: mmap.mmap | None = None
        if engine == "buckets":
            self._bitmap = mmap.mmap(self._object.map_fd("bitmap"), 8 << 19, mmap.MAP_SHARED)

    def _load(self, config: layout.Config, *, failsafe: bool) -> None:
        self._object.set_constants(bytes(config))
        for name in _LISTS:
            self._object.set_max_entries(name, CAPACITY)
        for name in ("classes", "class_counters"):
            self._object.set_max_entries(name, CLASSES)
        self._object.set_max_entries("lines", self.lines)
        skipped = () if self.engine == "buckets" else ("lines", "bitmap")
        for name in (*skipped, *(() if failsafe else ("failsafe",))):
            self._object.skip_map(name)
        self._object.load()

    def close(self) -> None:
        """Take the program and its maps out of the kernel."""
        if self._bitmap is not None:
            self._bitmap.close()
        self._object.close()

    # -- frames

    def run(self, packet: SupportsBytes) -> Answer:
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

    def run_uncounted(self, packet: SupportsBytes, ifindex: int | None = None) -> str:
        """Run the program and answer only what it returned; *ifindex* is where the frame came in."""
        frame = bytes(packet)
        # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0) if ifindex else None
        return _ACTIONS[libbpf.program_run(self._program, frame, context=context)[0]]

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

    def put_class(self, class_id: int, verdict: str) -> None:
        """Say what a class means."""
        libbpf.map_update(self._fd("classes"), struct.pack("=I", class_id), struct.pack("=II", verdict == DROP, 1))

    def put(self, entry: str, class_id: int) -> None:
        """List an address or prefix of either family."""
        network = ip_network(entry)
        if network.prefixlen < network.max_prefixlen:
            self._put_prefix(network, class_id)
        elif network.version == 4 and self.engine == "buckets":
            self._put_in_table(int(network.network_address), class_id)
        else:
            name = f"hosts{network.version}"
            self._put(name, network.network_address.packed, class_id)

    def _put(self, name: str, key: bytes, class_id: int) -> None:
        self._population[name] += 1
        counts = struct.pack("=4I", *(self._population[each] for each in _LISTS))
        libbpf.map_update(self._fd("population"), bytes(4), counts)
        libbpf.map_update(self._fd(name), key, struct.pack("=I", class_id))

    def _put_prefix(self, network: IPv4Network | IPv6Network, class_id: int) -> None:
        key = struct.pack("=I", network.prefixlen) + network.network_address.packed
        self._put(f"prefixes{network.version}", key, class_id)
        if network.version == 4 and self.engine == "buckets":
            first, last = int(network.network_address) >> 8, int(network.broadcast_address) >> 8
            self._set_bits(first, last, layout.Constant.BITMAP_PREFIXES)

    def _set_bits(self, first: int, last: int, plane: int) -> None:
        """Set the bit of each /24 from *first* to *last* in a plane that starts at word *plane*."""
        assert self._bitmap is not None
        at, size = plane * 8 + first // 8, last // 8 - first // 8 + 1
        bits = ((1 << last - first + 1) - 1) << first % 8
        held = int.from_bytes(self._bitmap[at : at + size], "little")
        self._bitmap[at : at + size] = (held | bits).to_bytes(size, "little")

    def line_of(self, address: str, choice: int) -> int:
        """The line where a host belongs by its first (0) or second (1) choice."""
        hashed = _MULTIPLIERS[choice] * int(IPv4Address(address)) + _ADDENDS[choice]
        return (hashed & 0xFFFFFFFFFFFFFFFF) >> (64 - self.lines.bit_length() + 1)

    def line(self, index: int) -> Line:
        """Read a line of the bucket table."""
        raw = libbpf.map_lookup(self._fd("lines"), struct.pack("=I", index), 64)
        assert raw is not None
        *slots, metadata = struct.unpack("=8Q", raw)
        return Line(slots, metadata)

    def set_line(self, index: int, line: Line) -> None:
        """Write a line of the bucket table."""
        raw = struct.pack("=8Q", *line.slots, line.metadata)
        libbpf.map_update(self._fd("lines"), struct.pack("=I", index), raw)

    def put_in_slot(self, address: str, class_id: int, choice: int, slot: int) -> None:
        """Put a host into one slot of a line, and set its bit in the bitmap; no flag is touched."""
        number, index = int(IPv4Address(address)), self.line_of(address, choice)
        line = self.line(index)
        line.slots[slot] = number << 32 | class_id << 16
        self.set_line(index, line)
        self._set_bits(number >> 8, number >> 8, layout.Constant.BITMAP_HOSTS)

    def mark_line(self, index: int, flags: int) -> None:
        """Add flags to the metadata of a line."""
        line = self.line(index)
        self.set_line(index, Line(line.slots, line.metadata | flags))

    def put_spilled(self, address: str, class_id: int) -> None:
        """Put a host into the hash; the caller marks its line."""
        number = int(IPv4Address(address))
        self._set_bits(number >> 8, number >> 8, layout.Constant.BITMAP_HOSTS)
        self._put("hosts4", number.to_bytes(4, "big"), class_id)

    def _put_in_table(self, number: int, class_id: int) -> None:
        address = str(IPv4Address(number))
        flags = 0
        for choice in (0, 1):
            slots = self.line(self.line_of(address, choice)).slots
            if 0 in slots:
                self.put_in_slot(address, class_id, choice, slots.index(0))
                break
            flags |= layout.Constant.LINE_OVERFLOW
        else:
            flags |= layout.Constant.LINE_SPILL
            self.put_spilled(address, class_id)
        if flags:
            self.mark_line(self.line_of(address, 0), flags)

    def clear_lists(self) -> None:
        """Take every entry out: empty maps, lines and bitmap."""
        for name in _LISTS:
            for key in _keys(self._fd(name), {"hosts4": 4, "prefixes4": 8, "hosts6": 16, "prefixes6": 20}[name]):
                libbpf.map_delete(self._fd(name), key)
        self._population = dict.fromkeys(_LISTS, 0)
        libbpf.map_update(self._fd("population"), bytes(4), bytes(16))
        if self._bitmap is not None:
            self._bitmap[:] = bytes(len(self._bitmap))
            for index in range(self.lines):
                self.set_line(index, Line([0] * 7, 0))

    # -- failsafe

    def put_failsafe(
        self,
        address: str,
        port: int,
        sources: Iterable[str],
        *,
        ifindex: int = LOOPBACK,
        packets_per_second: int = 1000,
    ) -> None:
        """Keep the gateway's own *address* and TCP *port* open to *sources* on an interface."""
        networks = [ip_network(source) for source in sources]
        key = struct.pack("=16sI", _packed_in_16(address), ifindex) + struct.pack(
            "!HBB", port, ip_address(address).version, 0
        )
        prefixes = [_packed_in_16(str(each.network_address)) for each in networks]
        masks = [_packed_in_16(str(each.netmask)) for each in networks]
        value = struct.pack("=QQII", 0, 0, packets_per_second, len(networks))
        value += b"".join(prefixes).ljust(64, b"\0") + b"".join(masks).ljust(64, b"\0")
        libbpf.map_update(self._fd("failsafe"), key, value)

    # -- everything

    def dump(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """Every element of every map (of the bitmap: its bytes), to prove that nothing changed."""
        sizes = {name: (each.key, each.value) for name, each in layout.MAPS.items()}
        found: dict[str, list[tuple[bytes, bytes]]] = {}
        for name in sizes.keys() - {"bitmap"}:
            if (fd := self._fd(name)) < 0:
                continue
            info = libbpf.map_info(fd)
            width = int(info.value_size) * (self._cpus if name.endswith("_counters") else 1)
            keys = _keys(fd, int(info.key_size))
            found[name] = [(key, libbpf.map_lookup(fd, key, width) or b"") for key in sorted(keys)]
        if self._bitmap is not None:
            found["bitmap"] = [(b"", self._bitmap[:])]
        return found


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
