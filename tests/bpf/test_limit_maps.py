# SPDX-License-Identifier: Apache-2.0
"""The writer of the limits' maps: slots, places of interfaces, ports, counters; and the keeper of bans."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from ctypes import sizeof

import numpy as np
import pytest

from neurowall.kernel import libbpf
from neurowall.kernel.bans import BanMaps
from neurowall.kernel.layout import MAPS, Constant
from neurowall.kernel.layout_limits import (
    Ban,
    BanKey,
    BanState,
    Limit,
    LimitAction,
    LimitCounter,
    LimitLine,
    LimitSite,
    NeverBan,
)
from neurowall.kernel.limits import LimitMaps, identity_of
from neurowall.kernel.maps import Map, possible_cpus
from neurowall.model import limits as model
from neurowall.model.errors import KernelError
from neurowall.model.limits import LimitGuard

SYN = model.Limit(name="syn", key="source", match="tcp-syn", packets_per_second=100, burst=50)
WEB = model.Limit(name="web", key="source", ports=(443, "8000-8002"), bytes_per_second=1_000_000)
NUMBERS = {"wan0": 7, "wan1": 7 + Constant.LIMIT_SITES}
SIZES = {
    "limits": (4, sizeof(Limit), Constant.LIMITS),
    "limit_sites": (4, sizeof(LimitSite), Constant.LIMIT_SITES),
    "limit_ports": (4, 8, Constant.LIMIT_PORT_WORDS),
    "limit_lines": (4, sizeof(LimitLine), Constant.LIMIT_LINES),
    "limit_counters": (4, sizeof(LimitCounter), Constant.LIMITS),
    "bans": (sizeof(BanKey), sizeof(Ban), Constant.BANS),
    "ban_state": (4, sizeof(BanState), 1),
    "never_ban": (sizeof(NeverBan), 4, 100),
}


@pytest.fixture
def maps() -> Iterator[dict[str, Map]]:
    """Empty ones, as a load makes them."""
    with ExitStack() as stack:
        made = {}
        for name, (key, value, entries) in SIZES.items():
            about = MAPS[name]
            made[name] = Map(libbpf.map_create(about.kind, name, key, value, entries, map_flags=about.flags))
            stack.callback(made[name].close)
        yield made


@pytest.fixture
def limits(maps: dict[str, Map]) -> LimitMaps:
    """Their writer; nobody reads, so nobody is waited for."""
    return LimitMaps(maps, lambda: None)


def guard(limit: model.Limit, *interfaces: str) -> LimitGuard:
    """A limit of these interfaces."""
    return LimitGuard(limit, interfaces or ("wan0",))


def slot(maps: dict[str, Map], number: int) -> Limit:
    """One limit as the kernel has it."""
    return Limit.from_buffer_copy(maps["limits"].lookup(number.to_bytes(4, "little")) or b"")


def sites(maps: dict[str, Map]) -> dict[int, LimitSite]:
    """Every site, by interface, and that none is there twice."""
    raw = maps["limit_sites"].mapped(np.dtype("<u8")).reshape(Constant.LIMIT_SITES, -1)
    found = [LimitSite.from_buffer_copy(row.tobytes()) for row in raw if row.any()]
    assert len({site.ifindex for site in found}) == len(found)
    return {site.ifindex: site for site in found}


def test_short_bursts_need_the_exact_clock(maps: dict[str, Map], limits: LimitMaps) -> None:
    """Of less than 80 ms: the coarse one stands still for up to 10."""
    short = guard(model.Limit(name="short", key="source", packets_per_second=1000, burst=79))
    long = guard(model.Limit(name="long", key="source", packets_per_second=1000, burst=80))
    limits.put([long, short], NUMBERS)
    assert sites(maps)[7].exact == 2


def test_a_limit_is_written_as_it_is_meant(maps: dict[str, Map], limits: LimitMaps) -> None:
    """Interval and burst in units of 16 ns; kinds, ports and interfaces as bits."""
    limits.put([guard(SYN), guard(WEB, "wan0", "wan1")], NUMBERS)
    syn, web = slot(maps, 0), slot(maps, 1)
    assert (syn.interval, syn.tolerance) == (625_000 << 20, 50 * 625_000)
    assert web.interval == round(62.5 * 2**20)
    assert (syn.counts_bytes, web.counts_bytes, syn.horizon) == (0, 1, max(syn.peak, web.peak))
    assert list(syn.secrets) != list(web.secrets)
    assert all(each % 2 for each in syn.secrets)
    found = sites(maps)
    assert list(found[7].masks) == [3, 2, 2, 0, 0, 0, 0, 0]
    assert list(found[7 + 1024].masks) == [2, 2, 2, 0, 0, 0, 0, 0]
    assert (found[7].with_ports, found[7].new_only, found[7].exact) == (2, 0, 0)
    ports = maps["limit_ports"].mapped(np.dtype("<u4"))
    assert list(np.flatnonzero(ports)) == [443, 8000, 8001, 8002]
    assert set(ports[ports != 0]) == {2}


def test_a_change_of_rate_keeps_slot_secrets_and_counters(maps: dict[str, Map], limits: LimitMaps) -> None:
    """Only what changes is written; the horizon remembers the largest burst that keys may still owe."""
    limits.put([guard(SYN), guard(WEB)], NUMBERS)
    before = slot(maps, 0)
    counted = bytes(sizeof(LimitCounter) * possible_cpus())[8:] + (5).to_bytes(8, "little")
    maps["limit_counters"].update(bytes(4), counted)
    limits.put([guard(WEB), guard(SYN.model_copy(update={"burst": 10, "action": "monitor"}))], NUMBERS)
    after = slot(maps, 0)
    assert list(after.secrets) == list(before.secrets)
    assert (after.tolerance, after.peak) == (10 * 625_000, before.peak)
    assert after.action == LimitAction.MONITOR
    assert after.horizon >= before.tolerance
    assert limits.counters().keys() == {identity_of(guard(SYN)), identity_of(guard(WEB))}
    assert maps["limit_counters"].per_cpu_sums(sizeof(LimitCounter) // 8)[0].sum() == 5


def test_a_slot_that_another_limit_gets_begins_anew(maps: dict[str, Map], limits: LimitMaps) -> None:
    """Other secrets, counters at zero, no port or site of the former one."""
    limits.put([guard(WEB)], NUMBERS)
    before = slot(maps, 0)
    counted = bytes(sizeof(LimitCounter) * possible_cpus())[8:] + (5).to_bytes(8, "little")
    maps["limit_counters"].update(bytes(4), counted)
    limits.put([], NUMBERS)
    assert sites(maps) == {}
    assert not slot(maps, 0).is_used
    assert not maps["limit_ports"].mapped(np.dtype("<u4")).any()
    assert limits.counters() == {}
    limits.put([guard(WEB)], NUMBERS)
    assert list(slot(maps, 0).secrets) != list(before.secrets)
    assert limits.counters()[identity_of(guard(WEB))].passed.packets == 0


def test_old_and_new_ones_have_room_together(limits: LimitMaps) -> None:
    """Twice as many as a policy may have, and not one more."""
    many = [guard(SYN.model_copy(update={"name": f"l{i}"})) for i in range(Constant.LIMITS + 1)]
    limits.put(many[:-1], NUMBERS)
    with pytest.raises(KernelError, match="takes 32 limits"):
        limits.put(many, NUMBERS)
    limits.put(many[16:-1], NUMBERS)
    limits.put(many[16:], NUMBERS)
    assert len(limits.counters()) == 17


def test_the_next_daemon_finds_the_limits(maps: dict[str, Map], limits: LimitMaps) -> None:
    """By their shape, whatever the order."""
    limits.put([guard(SYN), guard(WEB)], NUMBERS)
    before = [list(slot(maps, i).secrets) for i in (0, 1)]
    LimitMaps(maps, lambda: None).put([guard(WEB), guard(SYN)], NUMBERS)
    assert [list(slot(maps, i).secrets) for i in (0, 1)] == before


def test_interfaces_of_one_place_and_those_that_are_gone(maps: dict[str, Map], limits: LimitMaps) -> None:
    """Up to four share a place; one that stays is where it was; a fifth is refused."""
    names = {f"if{i}": 5 + i * Constant.LIMIT_SITES for i in range(5)}
    four = {name: number for name, number in names.items() if name != "if4"}
    limits.put([guard(SYN, *names)], four)
    assert sites(maps).keys() == set(four.values())
    with pytest.raises(KernelError, match="no room"):
        limits.put([guard(SYN, *names)], names)
    del four["if0"]
    limits.put([guard(SYN, *names)], four)
    assert sites(maps).keys() == set(four.values())
    limits.put([guard(SYN, *names)], {})
    assert sites(maps) == {}


def test_what_is_over_for_hours_is_swept(maps: dict[str, Map], limits: LimitMaps) -> None:
    """And nothing that was used in the last hour, or is still to be paid back."""
    lines = maps["limit_lines"].mapped(np.dtype("<u8"))
    now = time.monotonic_ns() // 16
    hour = 3600 * 10**9 // 16
    ages = (0, hour, 2 * hour, 3 * hour, -300 * 10**9 // 16)
    for place, age in enumerate(ages):
        lines[place * 1000] = 9 << 40 | (now - age) % (1 << 40)
    assert limits.sweep() == 2
    assert [bool(lines[place * 1000]) for place in range(len(ages))] == [True, True, False, False, True]


def put_ban(maps: dict[str, Map], last: int, seconds: float) -> str:
    """A ban as the kernel makes it."""
    key = BanKey(family=4)
    key.address[12:] = [203, 0, 113, last]
    maps["bans"].update(bytes(key), bytes(Ban(until=int(time.monotonic_ns() + seconds * 1e9), limit=77)))
    maps["ban_state"].mapped(np.dtype("<u8"))[0] += 1
    return f"203.0.113.{last}"


def test_bans_are_found_lifted_and_taken_out(maps: dict[str, Map]) -> None:
    """Their number follows; one that is over is no ban, though it is still there."""
    bans = BanMaps(maps)
    bans.configure([], 100)
    assert (len(bans), bans.all(), bans.find("203.0.113.1")) == (0, {}, None)
    one, two, over = put_ban(maps, 1, 60), put_ban(maps, 2, 30), put_ban(maps, 3, -1)
    assert len(bans) == 3
    assert bans.all().keys() == {one, two}
    until, limit = bans.all()[two]
    assert until == pytest.approx(time.time() + 30, abs=1)
    assert limit == 77
    assert (bans.lift(one), bans.lift(one), bans.lift(over)) == (True, False, False)
    assert len(bans) == 1
    put_ban(maps, 4, -1)
    assert bans.expire() == 1
    assert (len(bans), bans.expire()) == (1, 0)


def test_a_daemon_that_died_while_it_took_one_out_costs_nothing(maps: dict[str, Map]) -> None:
    """The ban is gone and was not counted: the next look makes good for it, so that nothing is looked up."""
    address = put_ban(maps, 7, -1)
    bans = BanMaps(maps)
    maps["bans"].delete(maps["bans"].all_keys()[0])
    assert len(bans) == 1
    assert bans.find(address) is None
    assert bans.expire() == 0
    assert len(bans) == 0


def test_who_is_never_banned_is_not_banned_any_more(maps: dict[str, Map]) -> None:
    """Said later than the ban was made, it ends; what is said no more is forgotten."""
    bans = BanMaps(maps)
    mine, other = put_ban(maps, 1, 60), put_ban(maps, 200, 60)
    bans.configure(["203.0.113.0/25", "2001:db8::1"], 7)
    assert bans.find(mine) is None
    assert bans.find(other) is not None
    assert len(maps["never_ban"].all_keys()) == 2
    bans.configure(["2001:db8::1"], 7)
    assert len(maps["never_ban"].all_keys()) == 1
    assert maps["ban_state"].mapped(np.dtype("<u8"))[2] == 7
