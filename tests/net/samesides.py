# SPDX-License-Identifier: Apache-2.0
"""The two forms of the filter on one gateway, and an observer behind them who notes what came through.

The observer is a table of its own, behind XDP and behind the table of the product; it drops what it has
noted, so that nobody answers and nothing is counted that the corpus does not hold.
"""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel.nft import Nftables
from neurowall.logic.stateful.fallback import fallback, packets_by_reason
from neurowall.model.entries import EntrySet
from neurowall.model.guards import guards_of
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.policy import ListVerdict, load_policy
from neurowall.model.ruleset import Ruleset
from neurowall.model.terms import Terms, TermSet
from tests.net.conftest import daemons
from tests.net.samecorpus import corpus, fences
from tests.net.samepackets import EXTERNAL, INTERNAL, LATER, LISTS, NETWORKS, SOON, WAYS, Packet
from tests.unit.logic.oracle import RawList

OBSERVER = """
table inet observer {
  set through4 { type mark; size 65535; flags dynamic; }
  set through6 { type mark; size 65535; flags dynamic; }
  chain note {
    type filter hook prerouting priority -305; policy accept;
    iifname != { "g0", "g1" } accept
    meta nfproto ipv4 meta mark set @nh,32,32 update @through4 { meta mark counter }
    meta nfproto ipv6 meta mark set @nh,0,32 update @through6 { meta mark counter }
    drop
  }
}
"""
_PATIENCE = 5.0  # seconds for the fences; they arrive at once

ROUNDED = 1.0  # seconds by which an end may be later in nftables


def policy(xdp: str, engine: str = "buckets") -> str:
    """The text of a policy; *xdp* alone says which form is used."""
    return json.dumps(
        {
            "interfaces": [
                {"name": EXTERNAL, "zone": "external", "xdp": xdp},
                {"name": INTERNAL, "zone": "internal", "xdp": xdp, "networks": NETWORKS},
            ],
            "failsafe": [
                {
                    **way._asdict(),
                    "packets_per_second": 1_000_000,
                    "allow_external": way.interface == EXTERNAL,
                }
                for way in WAYS
            ],
            "lists": [
                {"name": raw.name, "verdict": raw.verdict, "monitor": raw.monitor, "entries": raw.texts}
                for raw in LISTS
                if not raw.ends
            ],
            "engine": engine,
            "capacity": {"hosts4": 1000, "prefixes4": 1000, "hosts6": 1000, "prefixes6": 1000},
        }
    )


GUARDS = guards_of(load_policy(policy("off"), "policy.yaml"))
Counts = Callable[[], Mapping[str, int]]


@dataclass(frozen=True)
class Fates:
    """What became of packets: the numbers of those that came through, and how many each reason had."""

    through: frozenset[int]
    reasons: Mapping[str, int]


class Side:
    """A gateway on which one of the forms is in force; counts: packets by reason."""

    def __init__(self, chain: Chain, counts: Counts) -> None:
        self._chain = chain
        self._counts = counts

    def meet(self, packets: Sequence[Packet], *, repeats: bool = False) -> Fates:
        """Send the packets, each from its side, and see what became of them. repeats: some are sent twice."""
        with observer(self._chain) as noted:
            before = self._counts()
            for packet in (*packets, *fences()):
                self._wires[packet.interface].send(packet.frame)
            deadline = time.monotonic() + _PATIENCE
            while noted().get(0, 0) < len(tuple(fences())):
                assert time.monotonic() < deadline, "no fence came through: the gateway passes nothing"
            seen, after = noted(), self._counts()
        assert repeats or set(seen.values()) <= {1, 4}, "a packet came through more than once"
        gone = {each: after[each] - before.get(each, 0) for each in after}
        gone["default"] -= len(tuple(fences()))
        return Fates(frozenset(seen) - {0}, {name: count for name, count in gone.items() if count})

    @contextmanager
    def wired(self) -> Iterator["Side"]:
        """With sockets on both ends."""
        self._wires = {}
        for name, end in ((EXTERNAL, self._chain.client_if), (INTERNAL, self._chain.server_if)):
            with end.namespace.enter():
                self._wires[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self._wires[name].bind((end.name, 0))
        try:
            yield self
        finally:
            for wire in self._wires.values():
                wire.close()


@contextmanager
def observer(chain: Chain) -> Iterator[Callable[[], dict[int, int]]]:
    """How often each number came through the filter, from now on."""

    def noted() -> dict[int, int]:
        found: dict[int, int] = {}
        for family, shift in ((4, 16), (6, 0)):
            listing = chain.gateway.exec(["nft", "-j", "list", "set", "inet", "observer", f"through{family}"])
            for each in json.loads(listing.check().stdout)["nftables"][-1]["set"].get("elem", []):
                # A mark holds the bytes as they were on the wire.
                word = int.from_bytes(each["elem"]["val"].to_bytes(4, sys.byteorder), "big")
                number = word >> shift & 0xFFFF
                found[number] = found.get(number, 0) + each["elem"]["counter"]["packets"]
        return found

    chain.gateway.exec(["nft", "-f", "-"], input=OBSERVER).check()
    try:
        yield noted
    finally:
        chain.gateway.exec(["nft", "delete", "table", "inet", "observer"]).check()


def held(lists: Sequence[RawList], now: float) -> tuple[HeldList, ...]:
    """The lists as the engine holds them, their ends counted from *now*."""
    return tuple(_held(raw, now) for raw in lists)


def _held(raw: RawList, now: float) -> HeldList:
    verdict: ListVerdict = "allow" if raw.verdict == "allow" else "block"
    record = ListRecord(raw.name, verdict, "runtime", "", monitor=raw.monitor)
    entries = EntrySet.from_strings(raw.texts)
    if not raw.ends:
        return HeldList(record, entries)
    ends = {ip_network(text): now + end for text, end in zip(raw.texts, raw.ends, strict=True)}
    v4, v6 = (
        Terms(rows, *[np.array([ends[ip_network(str(row))] for row in rows.rows()])] * 3)
        for rows in (entries.v4, entries.v6)
    )
    return HeldList(record, entries, TermSet(v4, v6))


@contextmanager
def nft_side(
    chain: Chain, lists: Sequence[RawList] = LISTS, change: Callable[[Ruleset], Ruleset] = lambda made: made
) -> Iterator[Side]:
    """The nftables form for both interfaces without a daemon, changed on the way to the kernel."""
    now = time.time()
    made = fallback(GUARDS, {EXTERNAL, INTERNAL}, held(lists, now), 1000, now).into(Ruleset())
    tables = Nftables()
    with chain.gateway.enter():
        tables.commit(None, change(made))
    try:
        with Side(chain, lambda: counted(tables)).wired() as side:
            yield side
    finally:
        tables.delete_table()


def counted(tables: Nftables) -> dict[str, int]:
    """Packets by reason, as the nftables form counts them."""
    return {reason.label: each.packets for reason, each in packets_by_reason(tables.counters()).items()}


@dataclass(frozen=True)
class Story:
    """What became of the corpus while all entries held, and after some had ended; and of other packets."""

    at_first: Fates
    later: Fates
    others: Fates


def story(run: Run, chain: Chain, others: Sequence[Packet], xdp: str, engine: str = "buckets") -> Story:
    """A real daemon with a policy that says which form is used.

    What is to end ends before anything else is sent, and is then given an hour: so nothing depends on how
    fast packets are sent.
    """
    with ExitStack() as stack:
        daemon = stack.enter_context(daemons(run, chain))(policy(xdp, engine))
        tables = Nftables()
        with chain.gateway.enter():
            tables.counters()  # from now on it means this namespace
        stack.callback(tables.delete_table)
        daemon.start()
        modes = {each["name"]: each["mode"] for each in daemon.get("/status")["interfaces"]}
        assert set(modes.values()) == {"nftables" if xdp == "off" else xdp}, modes

        def counts() -> dict[str, int]:
            if xdp == "off":
                return counted(tables)
            return {each["reason"]: each["packets"] for each in daemon.get("/status")["packets"]}

        def give(end: float, seconds: float) -> None:
            for raw in LISTS:
                if texts := [text for text, its in zip(raw.texts, raw.ends, strict=False) if its == end]:
                    body = {"addresses": texts, "ttl": seconds}
                    assert daemon.ask("POST", f"/{raw.verdict}", json=body).status_code == 200

        side = stack.enter_context(Side(chain, counts).wired())
        give(LATER, LATER)
        give(SOON, SOON)
        time.sleep(SOON + ROUNDED + 0.1)
        later = side.meet(corpus())
        give(SOON, LATER)
        told = Story(side.meet(corpus()), later, side.meet(others))
        daemon.ok("down")
        assert not tables.fingerprint(), "`neurowall down` left the table"
        return told
