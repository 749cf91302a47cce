# SPDX-License-Identifier: Apache-2.0
"""Fuzzed frames through the shipped object with everything on: each is counted exactly once, as answered.

Others leave meanwhile, by the program at egress, which makes flows of them and lets them go on.

Nothing is said of which reason is right: the differential tests do that.
"""

from pathlib import Path
from random import Random

import pytest

from neurowall.model.reasons import Reason, Verdict
from tests.bpf.conftest import MakeFirewall
from tests.bpf.corpus import INSIDE, OUTSIDE, corpus
from tests.bpf.flowworld import control
from tests.bpf.fuzz import Runner, books_disagree
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.limitmaps import Limits, Spec
from tests.bpf.mutate import mutated
from tests.bpf.test_mutations import compiled

BATCH = 2_000
TC_NEXT = 0xFFFFFFFF  # TC_ACT_UNSPEC: what leaves goes on, whatever it is
IN_CI, IN_SOAK = 60_000, 2_500_000  # frames for each program; four of them
PROGRAMS = [("buckets", False), ("buckets", True), ("classic", False), ("classic", True)]
programs = pytest.mark.parametrize(("engine", "internal"), PROGRAMS)


def everything(
    make_firewall: MakeFirewall, engine: str, *, internal: bool, path: Path | None = None, **more: object
) -> Firewall:
    """All switches on, and something in every map."""
    switches = dict.fromkeys(("failsafe", "events", "limits", "bans", "spoofing", "bogons"), True)
    if internal:
        switches |= {"networks": True, "destinations": True}
    flows = {"flows": "strict", "flow_entries": 256}
    firewall = make_firewall(engine=engine, lines=2, path=path, **switches, **{**flows, **more})
    control(firewall)
    for class_id, verdict in ((1, DROP), (2, PASS), (3, "none")):
        firewall.put_class(class_id, verdict)
    firewall.put_class(4, DROP, timed="block", rest=2)
    for number, entry in enumerate(_entries()):
        firewall.put(entry, 1 + number % 4)
        firewall.put_expiry(entry, block_until=1 << 62 if number % 8 < 4 else 1)
    for entry in ("0.0.0.0/1", "198.51.100.0/24", "2000::/3") if internal else ():
        firewall.put_network(entry)
    for entry in (*INSIDE, "198.51.100.224/27", "2001:db8:1:f::/64"):
        firewall.put_foreign(entry, Reason.SPOOFED)
    for entry in ("10.0.0.0/8", "100.64.0.0/10", "fc00::/7", "2001:db8:ff00::/40"):
        firewall.put_foreign(entry, Reason.BOGON)
    for way in INSIDE:
        firewall.put_failsafe(way, 22, ["198.51.100.0/24" if "." in way else "2001:db8:bad::/48"])
    put_limits(Limits(firewall, virtual=False))
    return firewall


def put_limits(limits: Limits) -> None:
    """One of each kind, tight enough to be over at times; some sources that are banned."""
    limits.put(
        Spec(1000, 100),
        Spec(200, 20, kinds=("tcp-syn",), prefix4=24, prefix6=64, action="monitor"),
        Spec(1_000_000, 20_000, kinds=("udp",), key="port", counts_bytes=True),
        Spec(100, 10, kinds=("icmp",), key="all", new_only=True),
        Spec(50, 5, kinds=("fragment",), action="ban"),
        Spec(500, 50, kinds=("tcp-syn", "tcp", "udp"), ports=(53, 443), key="port"),
    )
    banned = ("198.51.100.9", "2001:db8:bad::9")
    limits.put_ban_state(put=len(banned))
    for address in banned:
        limits.put_ban(address, until=1 << 62)


def _entries() -> list[str]:
    near4 = [f"198.51.100.{host}" for host in range(10, 40)] + [f"203.0.{net}.0/24" for net in range(8)]
    near6 = [f"2001:db8:bad::{host:x}" for host in range(16, 40)] + ["2001:db9::/32", "2001:db8:bad:1::/64"]
    wide = ["64.0.0.0/4", "198.51.100.128/25", "198.51.100.64/27", "3000::/4"]
    return [*near4, *near6, *wide]


def fuzz(firewall: Firewall, seed: int | str, count: int) -> None:
    """Send them; the first batch whose books do not balance is sent again frame by frame."""
    r, seeds = Random(seed), corpus()
    runner, leaving = Runner(firewall.program), Runner(firewall.egress)
    before, told = firewall.reason_counters(), events(firewall)
    for number in range(count // BATCH):
        firewall.begin_window(number + 1, number % 4)
        # PROG_RUN for tc takes no frame that ends in its IP header.
        out = [each for each in (mutated(r, seeds) for _ in range(BATCH // 4)) if len(each) >= 54]
        assert set(leaving.answers(out)) == {TC_NEXT}
        frames = [mutated(r, seeds) for _ in range(BATCH)]
        answers = runner.answers(frames)
        after = firewall.reason_counters()
        if wrong := books_disagree(before, after, frames, answers):
            firewall.settle()
            for frame in frames:
                firewall.run(frame)  # asserts, with the frame
            raise AssertionError(f"{wrong}, and not again frame by frame; seed {seed}")
        after_told = events(firewall)
        told_now = [n - m for n, m in zip(after_told, told, strict=True)]
        assert told_now == [after[reason][0] - before[reason][0] if drops(reason) else 0 for reason in Reason]
        before, told = after, after_told


def drops(reason: Reason) -> bool:
    """Whether a packet counted under it was dropped."""
    return reason.verdict == Verdict.DROP


def events(firewall: Firewall) -> list[int]:
    """For each reason how many drops were told of, were over the budget, or found no room: all of them."""
    return [sum(firewall.event_budget(reason)) for reason in Reason]


@programs
def test_every_fuzzed_frame_is_counted_once(make_firewall: MakeFirewall, engine: str, internal: bool) -> None:
    """The same frames every time."""
    fuzz(everything(make_firewall, engine, internal=internal), f"{engine} {internal}", IN_CI)


@pytest.mark.soak
@programs
def test_ten_million_fuzzed_frames(make_firewall: MakeFirewall, engine: str, internal: bool) -> None:
    """Others every time; what fails says the frame, or the seed."""
    fuzz(everything(make_firewall, engine, internal=internal), Random().getrandbits(64), IN_SOAK)


@programs
def test_every_frame_of_the_corpus_is_whole(make_firewall: MakeFirewall, engine: str, internal: bool) -> None:
    """Seeds that the parser refuses would leave what lies behind it untouched."""
    firewall = everything(make_firewall, engine, internal=internal)
    seen = {frame: firewall.run(frame).reason for frame in corpus()}
    broken = {Reason.TRUNCATED, Reason.MALFORMED_IPV4, Reason.MALFORMED_IPV6, Reason.MALFORMED_TCP}
    broken |= {Reason.MALFORMED_UDP}
    refused = [frame.hex() for frame, reason in seen.items() if reason in broken]
    assert refused == [corpus()[-1].hex()]  # Ethernet alone


@pytest.mark.parametrize("internal", [False, True])
def test_fuzzed_frames_reach_every_reason(make_firewall: MakeFirewall, internal: bool) -> None:
    """Else the fuzzer would prove little: ten thousand of them, and nearly every reason the role can give."""
    firewall = everything(make_firewall, "buckets", internal=internal)
    fuzz(firewall, 7, 30_000)
    counted = {Reason(i) for i, (packets, _) in enumerate(firewall.reason_counters()) if packets}
    assert _due(internal) - counted == set()


def _due(internal: bool) -> set[Reason]:
    """What frames like these lead to."""
    inner = {Reason.DESTINATION_ALLOW_LIST, Reason.DESTINATION_BLOCK_LIST}
    built = set(Reason) - {Reason.UNPARSED_PASS}
    return built if internal else built - inner


_COUNT = "counter->packets++;"
MUTANTS = {
    "frames of 60 bytes are not counted": ("account.h", _COUNT, "counter->packets += bytes != 60;"),
    "frames of 60 bytes are counted twice": ("account.h", _COUNT, "counter->packets += 1 + (bytes == 60);"),
    "an IP header that lies is dropped as what passes": (
        "neurowall.bpf.c",
        "return drop(malformed);\n\tdecision = decide_ip",
        "return drop(NW_REASON_DEFAULT);\n\tdecision = decide_ip",
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_program_with_wrong_books_is_found(make_firewall: MakeFirewall, name: str, tmp_path: Path) -> None:
    """With fewer frames than the ordinary run."""
    firewall = everything(make_firewall, "buckets", internal=False, path=compiled(tmp_path, MUTANTS[name]))
    with pytest.raises(AssertionError):
        fuzz(firewall, 1, BATCH)


def test_a_frame_counted_twice_is_found() -> None:
    """And one that was not counted, or under a reason of the other verdict."""
    frames, answers = [bytes(60), bytes(70)], [1, 2]
    nothing = [(0, 0)] * len(Reason)

    def books(*rows: tuple[Reason, int, int]) -> str | None:
        after = list(nothing)
        for reason, packets, size in rows:
            after[reason] = (packets, size)
        return books_disagree(nothing, after, frames, answers)

    assert books((Reason.BLOCK_LIST, 1, 60), (Reason.DEFAULT, 1, 70)) is None
    assert books((Reason.BLOCK_LIST, 1, 60), (Reason.DEFAULT, 2, 140))
    assert books((Reason.BLOCK_LIST, 1, 60))
    assert books((Reason.BLOCK_LIST, 2, 130))
    assert books((Reason.BLOCK_LIST, 1, 60), (Reason.DEFAULT, 1, 60))
    assert books_disagree(nothing, nothing, [bytes(60)], [0])


def test_listed_hosts_are_not_those_of_the_connections() -> None:
    """Else lists would decide before flows and limits are asked."""
    assert not set(_entries()) & {*INSIDE, *OUTSIDE}
