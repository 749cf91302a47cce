# SPDX-License-Identifier: Apache-2.0
"""The product without a daemon: engine, data plane and loaded program, fed with list sets and single packets.

Packets go through BPF_PROG_RUN, one call each; reasons and lists are read from the product's own counters
once for many packets of the same fate.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from neurowall.data.state import StateStore
from neurowall.kernel import libbpf
from neurowall.kernel.dataplane import DataPlane
from neurowall.kernel.guards import Role
from neurowall.logic.engine import Engine
from neurowall.model.policy import Capacity, Interface, ListSpec, Policy
from neurowall.model.reasons import Reason, Verdict
from tests.bpf.frames import ADDRESSES
from tests.bpf.oracle_lists import Finding, RawList

EXTERNAL = Interface(name="nw-none", zone="external")  # never attached
ROLE = Role(unparsed=Verdict.DROP)
CAPACITY = Capacity(hosts4=4000, prefixes4=1000, hosts6=2000, prefixes6=1000, classes=4096)
ACTIONS = {libbpf.XDP_DROP: "drop", libbpf.XDP_PASS: "pass"}
_UDP = b"\x9c\x40\x00\x35\x00\x08\x00\x00"
_HEAD = {
    4: ADDRESSES + b"\x08\x00\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x00\x00",
    6: ADDRESSES + b"\x86\xdd\x60\x00\x00\x00\x00\x08\x11\x40",
}
_TAIL = {4: b"\xc0\x00\x02\x0a" + _UDP, 6: bytes.fromhex("20010db8000100000000000000000010") + _UDP}


def frame(family: int, source: int) -> bytes:
    """A UDP packet from *source*, an address as a number."""
    return _HEAD[family] + source.to_bytes(4 if family == 4 else 16, "big") + _TAIL[family]


class Gateway:
    """One instance in directories of its own, attached to nothing."""

    role = ROLE

    def __init__(self, engine: str, folder: Path, capacity: Capacity = CAPACITY) -> None:
        self.policy = Policy.model_validate(
            {"interfaces": (EXTERNAL,), "engine": engine, "capacity": capacity}
        )
        self._texts: dict[Path, bytes] = {}
        self.plane = DataPlane.open(self.policy, folder / "run")
        self._store = StateStore(folder / "state")
        self.engine = Engine(self.policy, self.plane, self._store, self._texts.__getitem__)
        self.engine.start()

    def close(self) -> None:
        """Take everything out of the kernel."""
        self._store.close()
        self.plane.detach()

    def declare(self, lists: Sequence[RawList]) -> None:
        """Put these lists in force in the place of those before, in one change."""
        self._texts.clear()
        specs = []
        for each in lists:
            path = Path(f"/{each.name}")
            self._texts[path] = each.text.encode()
            spec = {"name": each.name, "verdict": each.verdict, "monitor": not each.enforced}
            specs.append(ListSpec.model_validate({**spec, "file": path}))
        self.engine.reload_policy(self.policy.model_copy(update={"lists": tuple(specs)}))

    def timed(self, verb: str, entries: Sequence[str], seconds: float) -> list[float]:
        """Block or allow entries for a time; answers the end of each as Unix time."""
        change = {"block": self.engine.block, "allow": self.engine.allow}[verb]
        return [each.expires or 0.0 for each in change(entries, ttl=seconds).addresses]

    def take_out(self, verb: str, entries: Sequence[str]) -> None:
        """Take back what was blocked or allowed."""
        {"block": self.engine.unblock, "allow": self.engine.unallow}[verb](entries)

    def order(self) -> list[str]:
        """Names of the lists, the first that decides first."""
        return [info.name for info in self.engine.lists()]

    def action(self, family: int, source: int) -> str:
        """What a packet from *source* gets."""
        return ACTIONS[libbpf.program_run(self._program, frame(family, source))[0]]

    @property
    def _program(self) -> int:
        return self.plane._program(self.role)

    def disagreements(self, family: int, expected: Mapping[int, Finding]) -> Iterator[str]:
        """What packets from these sources got, where that is not what was expected; counters included."""
        fates: defaultdict[Finding, list[int]] = defaultdict(list)
        for source, finding in expected.items():
            fates[finding].append(source)
        for finding, sources in fates.items():
            reasons, lists = self._counters()
            for source in sources:
                got = self.action(family, source)
                if got != finding.action:
                    yield f"{frame(family, source).hex()}: {got}, expected {finding}"
            reasons_after, lists_after = self._counters()
            counted = {
                reason: n - reasons[reason] for reason, n in reasons_after.items() if n != reasons[reason]
            }
            if counted != {finding.reason: len(sources)}:
                yield f"counted as {counted}, expected {len(sources)} of {finding}, such as {sources[:3]}"
            decided = {
                name: n - lists.get(name, 0) for name, n in lists_after.items() if n != lists.get(name, 0)
            }
            if decided != ({finding.decided_by: len(sources)} if finding.decided_by else {}):
                yield f"decided by {decided}, expected {len(sources)} of {finding}, such as {sources[:3]}"

    def _counters(self) -> tuple[dict[str, int], dict[str, int]]:
        """Packets by reason and by the list that decided."""
        counters = self.engine.counters()
        lists: defaultdict[str, int] = defaultdict(int)
        for (name, verdict), counter in counters.lists.items():
            lists[name] += counter.packets if verdict in ("pass", "drop") else 0
        return {each.label: counters.reasons[each].packets for each in Reason}, lists


@contextmanager
def gateways(engines: Sequence[str], folder: Path) -> Iterator[list[Gateway]]:
    """One of each engine; all are taken away afterwards."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Gateway(engine, folder / engine))) for engine in engines]
