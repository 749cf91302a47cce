# SPDX-License-Identifier: Apache-2.0
"""The table behind limits: lines of eight keys, what a new key inherits, and time that comes round."""

from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest

from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.limitmaps import SECOND, UNIT_NS, WRAP, Limits, Spec
from tests.bpf.packets import SOURCE, frame4, frame6, udp
from tests.bpf.test_mutations import compiled

pytestmark = pytest.mark.tool("clang")
VIRTUAL = ("NW_VIRTUAL_TIME",)
SLOW = Spec(rate=1, burst=4)
LIMITED_WAYS = 8
SLACK = 1 << 30  # units that another CPU's clock may be behind
NO_INHERITANCE = (
    "limittable.h",
    "if (!held || ahead > horizon)",
    "if ((held ^ key) >> NW_LIMIT_TIME_BITS || ahead > horizon)",
)


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object with a clock that tests set."""
    return compiled(tmp_path_factory.mktemp("virtual"), defines=VIRTUAL)


def limited(make_firewall: MakeFirewall, path: Path, *specs: Spec) -> tuple[Firewall, Limits]:
    """A firewall that asks these limits."""
    firewall = make_firewall(engine="classic", limits=True, path=path)
    limits = Limits(firewall)
    limits.put(*specs)
    return firewall, limits


def sources_of_line(limits: Limits, line: int, number: int) -> list[str]:
    """Sources whose keys lie in one line, with different tags."""
    every = np.arange(0x0B000000, 0x0C000000, dtype=np.uint32)
    found = every[limits.lines4(every) == line][:number]
    return [str(IPv4Address(int(each))) for each in found]


def passes(firewall: Firewall, source: str) -> bool:
    """Whether a packet of a source passes."""
    return firewall.run_uncounted(frame4(source) / udp()) == PASS


def test_eight_keys_of_a_line_have_their_own_budgets(make_firewall: MakeFirewall, virtual: Path) -> None:
    """None of them disturbs another; a slot is the tag and the time when the budget is full again."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    line = limits.place(SOURCE)[0]
    sources = sources_of_line(limits, line, LIMITED_WAYS)
    assert [passes(firewall, each) for _ in range(5) for each in sources] == [True] * 32 + [False] * 8
    until = (limits.now + 4 * SECOND) // UNIT_NS
    assert sorted(limits.line(line)) == sorted(limits.place(each)[1] << 40 | until for each in sources)


def test_a_key_lies_at_its_home_where_that_is_empty(make_firewall: MakeFirewall, virtual: Path) -> None:
    """There it is found by one compare; where its home is taken it lies elsewhere, and is found too."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    line = limits.place(SOURCE)[0]
    by_home: dict[int, list[str]] = {}
    for each in sources_of_line(limits, line, 60):
        by_home.setdefault(limits.home(each), []).append(each)
    home, (first, second) = next((home, each[:2]) for home, each in by_home.items() if len(each) > 1)
    assert [passes(firewall, each) for _ in range(5) for each in (first, second)] == [True] * 8 + [False] * 2
    tags = [slot >> 40 for slot in limits.line(line)]
    assert tags[home] == limits.place(first)[1]
    assert tags.count(limits.place(second)[1]) == 1
    assert tags.count(0) == LIMITED_WAYS - 2


def thrash(firewall: Firewall, limits: Limits) -> int:
    """How many packets pass of 50 sources of one line, four packets each, all at one moment."""
    sources = sources_of_line(limits, limits.place(SOURCE)[0], 50)
    return sum(passes(firewall, each) for each in sources for _ in range(4))


def test_thrashing_buys_no_bursts(make_firewall: MakeFirewall, virtual: Path) -> None:
    """A new key inherits what the one used whose place it takes: eight budgets in all, not fifty."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    assert thrash(firewall, limits) == LIMITED_WAYS * 4


def test_a_table_without_inheritance_is_caught(make_firewall: MakeFirewall, tmp_path: Path) -> None:
    """The same packets against a mutant, which sells a burst for each new source."""
    path = compiled(tmp_path, NO_INHERITANCE, defines=VIRTUAL)
    firewall, limits = limited(make_firewall, path, SLOW)
    assert thrash(firewall, limits) == 200


def test_the_oldest_gives_way(make_firewall: MakeFirewall, virtual: Path) -> None:
    """Of eight keys the one whose budget is full again first."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    line = limits.place(SOURCE)[0]
    *sources, last = sources_of_line(limits, line, LIMITED_WAYS + 1)
    for each in sources:
        limits.now += SECOND // 100
        assert all(passes(firewall, each) for _ in range(1 if each == sources[3] else 2))
    assert passes(firewall, last)
    tags = {slot >> 40 for slot in limits.line(line)}
    assert limits.place(sources[3])[1] not in tags
    assert limits.place(last)[1] in tags


def test_what_is_over_long_ago_counts_as_nothing(make_firewall: MakeFirewall, virtual: Path) -> None:
    """A new key in the place of one that is over has its whole burst."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    *sources, last = sources_of_line(limits, limits.place(SOURCE)[0], LIMITED_WAYS + 1)
    for each in sources:
        assert all(passes(firewall, each) for _ in range(4))
    assert not passes(firewall, last)
    limits.now += 4 * SECOND
    assert [passes(firewall, last) for _ in range(5)] == [True] * 4 + [False]


def test_a_key_waits_for_a_line_full_of_larger_bursts(make_firewall: MakeFirewall, virtual: Path) -> None:
    """It inherits from other limits' keys too: strict rather than open, until the first is near."""
    firewall, limits = limited(
        make_firewall, virtual, Spec(rate=1, burst=3), Spec(rate=1, burst=300, key="all")
    )
    line, tag = limits.place(SOURCE)
    far = limits.now + 200 * SECOND
    limits.put_line(line, [(tag + 1 + i) << 40 | far // UNIT_NS % WRAP for i in range(8)])
    assert not passes(firewall, SOURCE)
    limits.now = far - 2 * SECOND - UNIT_NS
    assert not passes(firewall, SOURCE)
    limits.now += UNIT_NS
    assert [passes(firewall, SOURCE) for _ in range(2)] == [True, False]


def test_two_sources_of_one_tag_share_a_budget(make_firewall: MakeFirewall, virtual: Path) -> None:
    """A tag has 24 bits: who meets in line and tag is one key. Stricter than asked, never the other way."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    line, tag = limits.place(SOURCE)
    limits.put_line(line, [0, 0, 0, tag << 40 | (limits.now + 3 * SECOND) // UNIT_NS % WRAP, 0, 0, 0, 0])
    assert [passes(firewall, SOURCE) for _ in range(2)] == [True, False]
    other = next(each for each in sources_of_line(limits, line, 9) if limits.place(each)[1] != tag)
    assert [passes(firewall, other) for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.parametrize("ahead", [-SECOND, -1_000, 0, 1_000, 2 * SECOND])
def test_time_comes_round(make_firewall: MakeFirewall, virtual: Path, ahead: int) -> None:
    """The clock passes the end of 40 bits while a budget is used, and nothing is forgotten or invented."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    limits.now = 7 * WRAP * UNIT_NS - ahead
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]
    for _ in range(4):
        limits.now += SECOND - UNIT_NS
        assert not passes(firewall, SOURCE)
        limits.now += UNIT_NS
        assert passes(firewall, SOURCE)
    limits.now += 4 * SECOND
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]


def test_a_time_further_ahead_than_a_burst_is_over(make_firewall: MakeFirewall, virtual: Path) -> None:
    """An entry of hours ago is not taken for one of the future; one of a CPU whose clock is ahead is."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    line, tag = limits.place(SOURCE)
    for away in (-WRAP // 2, -1, SLOW.tolerance + SLACK + 1, WRAP // 2):
        limits.put_line(line, [tag << 40 | (limits.now // UNIT_NS + away) % WRAP, *[0] * 7])
        assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False], away
        limits.now += 10 * SECOND
    for away in (SLOW.tolerance, SLOW.tolerance + 1, SLOW.tolerance + SLACK):
        limits.put_line(line, [tag << 40 | (limits.now // UNIT_NS + away) % WRAP, *[0] * 7])
        assert not passes(firewall, SOURCE), away


def test_another_secret_finds_nothing_of_the_former_limit(make_firewall: MakeFirewall, virtual: Path) -> None:
    """A slot that another limit gets begins anew, though the keys are the same."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]
    limits.put(SLOW, slots=[5])
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]


def test_sources_spread_over_the_lines(make_firewall: MakeFirewall, virtual: Path) -> None:
    """Neighbours, and IPv6 hosts that differ in any word, as random ones would: no line gets many."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    for words in (
        [f"198.18.{i >> 8}.{i & 255}" for i in range(4000)],
        [f"2001:db8::{i:x}:0" for i in range(4000)],
    ):
        places = [limits.place(each)[0] for each in words]
        assert max(places.count(line) for line in set(places)) <= 8
    assert firewall.run_uncounted(frame6("2001:db8::7:0") / udp()) == PASS
    line, tag = limits.place("2001:db8::7:0")
    assert tag in {slot >> 40 for slot in limits.line(line)}


@pytest.mark.parametrize("seed", range(3))
def test_a_long_rest_is_no_burst_but_one(make_firewall: MakeFirewall, virtual: Path, seed: int) -> None:
    """After hours in which a source was silent it has one burst."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]
    limits.now += (3600 + seed * 5000) * SECOND
    assert [passes(firewall, SOURCE) for _ in range(5)] == [True] * 4 + [False]


def test_everything_is_dropped_that_a_full_line_does_not_know(
    make_firewall: MakeFirewall, virtual: Path
) -> None:
    """A source whose line is full of spent budgets waits for the first of them, and then has one packet."""
    firewall, limits = limited(make_firewall, virtual, SLOW)
    *sources, last = sources_of_line(limits, limits.place(SOURCE)[0], LIMITED_WAYS + 1)
    for each in sources:
        for _ in range(4):
            passes(firewall, each)
    assert firewall.run_uncounted(frame4(last) / udp()) == DROP
    limits.now += SECOND
    assert [passes(firewall, last) for _ in range(2)] == [True, False]
