# SPDX-License-Identifier: Apache-2.0
"""Classes that hold for a time, and classes that only count; and programs that get them wrong."""

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bpf.conftest import MakeFirewall
from tests.bpf.frames import probe
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import OTHER, SOURCE, SOURCE6
from tests.bpf.test_mutations import compiled

NONE = "none"
AHEAD, OVER = 3600, -1  # seconds from now
UNLISTED, BLOCKED, ALLOWED = ("pass", "default"), ("drop", "block-list"), ("pass", "allow-list")
FRAGMENT4, TUNNEL4 = slice(20, 22), 23  # of the frame: fragment field, protocol


class Case(NamedTuple):
    """What the maps hold, and what a packet from the source gets.

    classes: id, verdict, timed, rest. The source's entry has class 1. ends: of the source itself, in seconds
    from now: allow, block; None for an entry without ends, around: those of a prefix that covers it.
    """

    classes: tuple[tuple[int, str, str, int], ...]
    ends: tuple[int | None, int | None] | None
    expected: tuple[str, str]
    counted: int  # class, 0: none
    around: tuple[int | None, int | None] | None = None


BLOCK_ONLY = ((1, DROP, "block", 0),)
ALLOW_ONLY = ((1, PASS, "allow", 0),)
ALLOW_THEN_BLOCK = ((1, PASS, "allow", 2), (2, DROP, "block", 3), (3, NONE, "", 0))
ALLOW_THEN_FOR_GOOD = ((1, PASS, "allow", 2), (2, DROP, "", 0))
CASES: dict[str, Case] = {
    "a block that runs": Case(BLOCK_ONLY, (None, AHEAD), BLOCKED, 1),
    "a block that is over": Case(BLOCK_ONLY, (None, OVER), UNLISTED, 0),
    "an allow that runs": Case(ALLOW_ONLY, (AHEAD, None), ALLOWED, 1),
    "an allow that is over": Case(ALLOW_ONLY, (OVER, None), UNLISTED, 0),
    "both run": Case(ALLOW_THEN_BLOCK, (AHEAD, AHEAD), ALLOWED, 1),
    "the allow is over": Case(ALLOW_THEN_BLOCK, (OVER, AHEAD), BLOCKED, 2),
    "the block is over, the allow runs": Case(ALLOW_THEN_BLOCK, (AHEAD, OVER), ALLOWED, 1),
    "both are over": Case(ALLOW_THEN_BLOCK, (OVER, OVER), UNLISTED, 3),
    "an allow over a block without an end": Case(ALLOW_THEN_FOR_GOOD, (AHEAD, None), ALLOWED, 1),
    "only the block without an end is left": Case(ALLOW_THEN_FOR_GOOD, (OVER, None), BLOCKED, 2),
    "a block without an expiry holds": Case(BLOCK_ONLY, None, BLOCKED, 1),
    "an allow without an expiry does not": Case(ALLOW_THEN_BLOCK, None, BLOCKED, 2),
    "an end of zero is none": Case(ALLOW_THEN_BLOCK, (None, None), UNLISTED, 3),
    "of a prefix around it, it runs": Case(BLOCK_ONLY, None, BLOCKED, 1, (None, AHEAD)),
    "of a prefix around it, it is over": Case(BLOCK_ONLY, None, UNLISTED, 0, (None, OVER)),
    "its own end, not the prefix's": Case(BLOCK_ONLY, (None, AHEAD), BLOCKED, 1, (None, OVER)),
    "what comes after is not defined": Case(((1, PASS, "allow", 5),), (OVER, None), BLOCKED, 5),
    "a class that counts": Case(((1, NONE, "", 0),), None, UNLISTED, 1),
    "a class without an end has no use for one": Case(((1, DROP, "", 0),), (None, OVER), BLOCKED, 1),
}
SOURCES = (SOURCE, SOURCE6)
MUTATIONS: dict[str, tuple[str, str, str]] = {
    "the clock is read the wrong way round": ("timed.h", "if (now < until)", "if (now >= until)"),
    "what comes after is ignored": ("timed.h", "class_id = class->rest;", "class_id = 0;"),
    "a block without an expiry passes": (
        "timed.h",
        "expiry ? expiry->block_until : ~0ULL",
        "expiry ? expiry->block_until : 0",
    ),
    "an allow without an expiry passes": (
        "timed.h",
        "expiry ? expiry->allow_until : 0",
        "expiry ? expiry->allow_until : ~0ULL",
    ),
    "allow and block are mixed up": (
        "timed.h",
        "class->timed == NW_TIMED_ALLOW ?",
        "class->timed == NW_TIMED_BLOCK ?",
    ),
    "prefixes have no expiry": (
        "timed.h",
        "	if (!expiry)\n		expiry = bpf_map_lookup_elem(&timed_prefixes4, &key);\n",
        "",
    ),
    "prefixes of IPv6 have no expiry": (
        "timed.h",
        "	if (!expiry)\n		expiry = bpf_map_lookup_elem(&timed_prefixes6, &key);\n",
        "",
    ),
    "the chain is cut short": ("timed.h", "i < NW_TIMED_DEPTH; i++", "i < 1; i++"),
    "nothing is over": ("decide.h", "class && UNLIKELY(class->timed != NW_TIMED_NO)", "class && 0"),
    "a class that counts drops": ("decide.h", "class->verdict == NW_VERDICT_NONE)", "class->verdict == 9)"),
    "the first class of the chain is counted": (
        "decide.h",
        "	decision.class_id = class_id;\n	return decision;",
        "	decision.class_id = class ? class_id + 1 : 0;\n	return decision;",
    ),
}


def ends(now: int, relative: tuple[int | None, int | None]) -> dict[str, int]:
    """As put_expiry takes them."""
    allow, block = (0 if each is None else now + each * 10**9 for each in relative)
    return {"allow_until": allow, "block_until": block}


def around(source: str) -> str:
    """A prefix that covers the source."""
    return f"{source.rpartition(':')[0]}:0/112" if ":" in source else f"{source.rpartition('.')[0]}.0/24"


def wrong(firewall: Firewall, name: str, source: str) -> str | None:
    """What a packet from the source got, if that is not what was expected."""
    now, case = time.monotonic_ns(), CASES[name]
    firewall.clear_lists()
    for each in case.classes:
        firewall.put_class(*each)
    firewall.put(source, 1)
    if case.ends:
        firewall.put_expiry(source, **ends(now, case.ends))
    if case.around:
        firewall.put_expiry(around(source), **ends(now, case.around))
    before = [firewall.class_counter(each)[0] for each in range(6)]
    answer = firewall.run(probe(source))
    counted = [i for i in range(6) if firewall.class_counter(i)[0] != before[i]]
    got, expected = (answer.action, answer.reason.label), ([case.counted] if case.counted else [])
    if (got, counted) == (case.expected, expected):
        return None
    return f"{name}, {source}: {got}, classes {counted}; expected {case}"


def all_wrong(firewall: Firewall) -> list[str]:
    """Every case that goes another way."""
    found = [wrong(firewall, name, source) for name in CASES for source in SOURCES]
    return [each for each in found if each]


def test_what_holds_now(either: Firewall) -> None:
    """Verdict, reason and the class that is counted, for a host of each family."""
    assert all_wrong(either) == []


@pytest.mark.parametrize("entry", ["198.51.100.0/24", "198.51.100.0/28", "2001:db8:bad::/48"])
def test_members_of_a_timed_prefix(either: Firewall, entry: str) -> None:
    """The prefix in the tables and its ends in a trie; a longer one's ends are its own."""
    now, source = time.monotonic_ns(), SOURCE6 if ":" in entry else SOURCE
    either.put_class(1, DROP, "block")
    either.put(entry, 1)
    either.put_expiry(entry, block_until=now + 10**12)
    assert either.run(probe(source))[0] == DROP
    longer = f"{source}/127" if ":" in source else "198.51.100.6/31"
    either.put_expiry(longer.replace("::7", "::6"), block_until=1)
    assert either.run(probe(source)).reason.label == "default"
    assert either.run(probe(OTHER)).reason.label == "default"


def test_an_end_comes_by_itself(either: Firewall) -> None:
    """Nobody writes anything: dropped until the end, passed after it."""
    either.put_class(1, DROP, "block")
    either.put(SOURCE, 1)
    end = time.monotonic_ns() + 100_000_000
    either.put_expiry(SOURCE, block_until=end)
    dropped: list[tuple[int, int]] = []
    passed: list[tuple[int, int]] = []
    while time.monotonic_ns() < end + 20_000_000:
        before = time.monotonic_ns()
        action = either.run_uncounted(probe(SOURCE))
        (dropped if action == DROP else passed).append((before, time.monotonic_ns()))
    assert dropped
    assert all(before < end for before, _ in dropped)
    assert passed
    assert all(after >= end for _, after in passed)


@pytest.mark.parametrize("is_over", [False, True])
def test_what_only_counts_keeps_the_reason_of_an_unlisted_packet(either: Firewall, is_over: bool) -> None:
    """A later fragment is counted as one, and a tunnel as one, also after a block is over."""
    either.put_class(1, *((DROP, "block") if is_over else (NONE,)))
    either.put(SOURCE, 1)
    either.put_expiry(SOURCE, block_until=1)
    later, tunnel = bytearray(probe(SOURCE)), bytearray(probe(SOURCE))
    later[FRAGMENT4], tunnel[TUNNEL4] = b"\x00\x05", 47
    assert either.run(later).reason.label == "fragment"
    assert either.run(tunnel).reason.label == "tunnel"


@pytest.mark.tool("clang")
@pytest.mark.parametrize("what", MUTATIONS)
def test_a_broken_program_is_caught(make_firewall: MakeFirewall, what: str, tmp_path: Path) -> None:
    """By the cases above."""
    path = compiled(tmp_path, MUTATIONS[what])
    assert all_wrong(make_firewall(engine="buckets", path=path))
