# SPDX-License-Identifier: Apache-2.0
"""The bucket table: first line, second line, spill, empty slots, the bitmap in front."""

from collections import defaultdict

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall, Line
from tests.bpf.packets import SOURCE, frame4, udp

BLOCK = 1
SLOTS = 7
OVERFLOW, SPILL = 1, 2
BLOCKED, UNLISTED = (DROP, Reason.BLOCK_LIST), (PASS, Reason.DEFAULT)


@pytest.fixture
def table(make_firewall: MakeFirewall) -> Firewall:
    """A table of two lines: some addresses have one line for both choices, others two."""
    firewall = make_firewall(engine="buckets", lines=2)
    firewall.put_class(BLOCK, DROP)
    return firewall


def by_lines(table: Firewall) -> dict[tuple[int, int], list[str]]:
    """Addresses of one /24 by their first and second line."""
    found = defaultdict(list)
    for i in range(1, 255):
        address = f"198.51.100.{i}"
        found[table.line_of(address, 0), table.line_of(address, 1)].append(address)
    return found


@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_host_is_found_in_every_slot_of_its_first_line(table: Firewall, slot: int) -> None:
    """Match."""
    table.put_in_slot(SOURCE, BLOCK, 0, slot)
    assert table.run(frame4(SOURCE) / udp()) == BLOCKED
    assert table.run(frame4("198.51.100.8") / udp()) == UNLISTED


@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_host_is_found_in_every_slot_of_its_second_line(table: Firewall, slot: int) -> None:
    """Only where the first line says so: the flag is what keeps a miss at one line."""
    address = by_lines(table)[0, 1][0]
    table.put_in_slot(address, BLOCK, 1, slot)
    assert table.run(frame4(address) / udp()) == UNLISTED
    table.mark_line(0, OVERFLOW)
    assert table.run(frame4(address) / udp()) == BLOCKED


def test_the_flag_of_the_second_line_says_nothing(table: Firewall) -> None:
    """A host whose first line is clean is not searched elsewhere."""
    address = by_lines(table)[0, 1][0]
    table.put_in_slot(address, BLOCK, 1, 0)
    table.mark_line(1, OVERFLOW | SPILL)
    assert table.run(frame4(address) / udp()) == UNLISTED


def test_a_spilled_host_is_found_in_the_hash(table: Firewall) -> None:
    """Only where the first line says so."""
    address, other = by_lines(table)[0, 1][:2]
    table.put_spilled(address, BLOCK)
    assert table.run(frame4(address) / udp()) == UNLISTED
    table.mark_line(0, OVERFLOW)
    assert table.run(frame4(address) / udp()) == UNLISTED
    table.mark_line(0, OVERFLOW | SPILL)
    assert table.run(frame4(address) / udp()) == BLOCKED
    assert table.run(frame4(other) / udp()) == UNLISTED


def test_more_hosts_than_slots_are_all_found_and_no_others(table: Firewall) -> None:
    """Fourteen slots and the hash: forty hosts by the rules of placement, then every address of the /24."""
    listed = [f"198.51.100.{i}" for i in range(1, 121, 3)]
    for address in listed:
        table.put(address, BLOCK)
    assert {table.line(0).metadata, table.line(1).metadata} == {OVERFLOW | SPILL}
    for i in range(256):
        address = f"198.51.100.{i}"
        expected = BLOCKED if address in listed else UNLISTED
        assert table.run(frame4(address) / udp()) == expected, address


def test_an_empty_slot_matches_nobody(table: Firewall) -> None:
    """Not even 0.0.0.0, whose bits it has, when the /24 is marked."""
    table.put("0.0.0.1", BLOCK)
    assert table.run(frame4("0.0.0.0") / udp()) == UNLISTED


@pytest.mark.parametrize("slot", range(SLOTS))
def test_the_address_zero_is_found_behind_empty_slots(table: Firewall, slot: int) -> None:
    """Slots in front of it may be empty: freed ones stay so until a grace period has passed."""
    table.put_in_slot("0.0.0.0", BLOCK, 0, slot)
    assert table.run(frame4("0.0.0.0") / udp()) == BLOCKED


def test_the_address_zero_is_found_in_its_second_line(make_firewall: MakeFirewall) -> None:
    """Where its first has an empty slot again."""
    firewall = make_firewall(engine="buckets", lines=64)
    firewall.put_class(BLOCK, DROP)
    assert firewall.line_of("0.0.0.0", 0) != firewall.line_of("0.0.0.0", 1)
    firewall.put_in_slot("0.0.0.0", BLOCK, 1, 3)
    firewall.mark_line(firewall.line_of("0.0.0.0", 0), OVERFLOW)
    assert firewall.run(frame4("0.0.0.0") / udp()) == BLOCKED


def test_a_slot_with_class_zero_is_empty(table: Firewall) -> None:
    """Whatever its address; a prefix that covers the address still counts."""
    index = table.line_of(SOURCE, 0)
    table.put_in_slot(SOURCE, 0, 0, 2)
    assert table.run(frame4(SOURCE) / udp()) == UNLISTED
    table.put("198.51.100.0/25", BLOCK)
    assert table.run(frame4(SOURCE) / udp()) == BLOCKED
    assert table.line(index).slots[2]


def test_the_flags_of_a_slot_are_not_part_of_its_class(table: Firewall) -> None:
    """The low sixteen bits are reserved for flags."""
    index = table.line_of(SOURCE, 0)
    table.put_in_slot(SOURCE, BLOCK, 0, 0)
    line = table.line(index)
    table.set_line(index, Line([line.slots[0] | 0xFFFF, *line.slots[1:]], line.metadata))
    assert table.run(frame4(SOURCE) / udp()) == BLOCKED
    assert table.class_counter(BLOCK)[0] == 1


def test_an_unmarked_net_is_not_looked_up(table: Firewall) -> None:
    """The bitmap decides: userspace sets a bit before the first entry of a /24."""
    index = table.line_of(SOURCE, 0)
    table.put_in_slot("192.0.2.1", BLOCK, 0, 0)
    table.set_line(index, Line([int.from_bytes(bytes((198, 51, 100, 7)), "big") << 32 | BLOCK << 16, *[0] * 6], 0))
    assert table.run(frame4(SOURCE) / udp()) == UNLISTED


@pytest.mark.parametrize("net", [0, 1, 31, 32, 63, 64, (1 << 24) - 1, (1 << 24) - 32, 12648430])
def test_every_position_in_the_bitmap_is_its_own(table: Firewall, net: int) -> None:
    """The neighbours of a /24 whose bits are set stay clean, within a word and across words."""

    def address(number: int) -> str:
        return ".".join(str(byte) for byte in ((number << 8) + 5 & 0xFFFFFFFF).to_bytes(4, "big"))

    table.put(f"{address(net).rpartition('.')[0]}.0/24", BLOCK)
    assert table.run(frame4(address(net)) / udp()) == BLOCKED
    for other in (net - 1, net + 1, net ^ 32, net ^ 31):
        if 0 <= other < 1 << 24:
            assert table.run(frame4(address(other)) / udp()) == UNLISTED


def test_other_hosts_of_a_marked_net_pass(table: Firewall) -> None:
    """A set bit promises nothing."""
    table.put(SOURCE, BLOCK)
    assert table.run(frame4("198.51.100.200") / udp()) == UNLISTED
