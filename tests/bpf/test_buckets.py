# SPDX-License-Identifier: Apache-2.0
"""The bucket table: first line, second line, spill, empty slots, the filter in front."""

from collections import defaultdict
from ipaddress import IPv4Address

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import SOURCE, frame4, udp
from tests.bpf.tables import OVERFLOW, SLOTS, SPILL, BucketTable, Tables4

BLOCK = 1
BLOCKED, UNLISTED = (DROP, Reason.BLOCK_LIST), (PASS, Reason.DEFAULT)


@pytest.fixture
def firewall(make_firewall: MakeFirewall) -> Firewall:
    """A table of two lines: some addresses have one line for both choices, others two."""
    firewall = make_firewall(engine="buckets", lines=2)
    firewall.put_class(BLOCK, DROP)
    return firewall


def tables_of(firewall: Firewall) -> Tables4:
    """Those of the buckets engine."""
    assert firewall.tables
    return firewall.tables


@pytest.fixture
def hosts(firewall: Firewall) -> BucketTable:
    """The table of hosts."""
    return tables_of(firewall).hosts


def number(address: str) -> int:
    """An address as the tables have it."""
    return int(IPv4Address(address))


def put_in_slot(firewall: Firewall, address: str, choice: int, position: int, class_id: int = BLOCK) -> None:
    """Put a host into one slot of one of its lines and its bit in the filter; no flag is touched."""
    tables, value = tables_of(firewall), number(address)
    tables.mark_host(value)
    tables.hosts.set_slot(tables.hosts.line_of(value, choice), position, value << 32 | class_id << 16)


def by_lines(hosts: BucketTable) -> dict[tuple[int, int], list[str]]:
    """Addresses of one /24 by their first and second line."""
    found = defaultdict(list)
    for i in range(1, 255):
        address = f"198.51.100.{i}"
        found[hosts.line_of(number(address), 0), hosts.line_of(number(address), 1)].append(address)
    return found


@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_host_is_found_in_every_slot_of_its_first_line(firewall: Firewall, slot: int) -> None:
    """Match."""
    put_in_slot(firewall, SOURCE, 0, slot)
    assert firewall.run(frame4(SOURCE) / udp()) == BLOCKED
    assert firewall.run(frame4("198.51.100.8") / udp()) == UNLISTED


@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_host_is_found_in_every_slot_of_its_second_line(
    firewall: Firewall, hosts: BucketTable, slot: int
) -> None:
    """Only where the first line says so: the flag is what keeps a miss at one line."""
    address = by_lines(hosts)[0, 1][0]
    put_in_slot(firewall, address, 1, slot)
    assert firewall.run(frame4(address) / udp()) == UNLISTED
    hosts.mark(0, OVERFLOW)
    assert firewall.run(frame4(address) / udp()) == BLOCKED


def test_the_flag_of_the_second_line_says_nothing(firewall: Firewall, hosts: BucketTable) -> None:
    """A host whose first line is clean is not searched elsewhere."""
    address = by_lines(hosts)[0, 1][0]
    put_in_slot(firewall, address, 1, 0)
    hosts.mark(1, OVERFLOW | SPILL)
    assert firewall.run(frame4(address) / udp()) == UNLISTED


def test_a_spilled_host_is_found_in_the_hash(firewall: Firewall, hosts: BucketTable) -> None:
    """Only where the first line says so."""
    address, other = by_lines(hosts)[0, 1][:2]
    firewall.put_in_map("hosts4", IPv4Address(address).packed, BLOCK)
    tables_of(firewall).mark_host(number(address))
    assert firewall.run(frame4(address) / udp()) == UNLISTED
    hosts.mark(0, OVERFLOW)
    assert firewall.run(frame4(address) / udp()) == UNLISTED
    hosts.mark(0, OVERFLOW | SPILL)
    assert firewall.run(frame4(address) / udp()) == BLOCKED
    assert firewall.run(frame4(other) / udp()) == UNLISTED


def test_more_hosts_than_slots_are_all_found_and_no_others(firewall: Firewall, hosts: BucketTable) -> None:
    """Fourteen slots and the hash: forty hosts by the rules of placement, then every address of the /24."""
    listed = [f"198.51.100.{i}" for i in range(1, 121, 3)]
    for address in listed:
        firewall.put(address, BLOCK)
    assert {hosts.line(0).metadata, hosts.line(1).metadata} == {OVERFLOW | SPILL}
    for i in range(256):
        address = f"198.51.100.{i}"
        expected = BLOCKED if address in listed else UNLISTED
        assert firewall.run(frame4(address) / udp()) == expected, address


def test_an_empty_slot_matches_nobody(firewall: Firewall) -> None:
    """Not even 0.0.0.0, whose bits it has, when the /24 is marked."""
    firewall.put("0.0.0.1", BLOCK)
    assert firewall.run(frame4("0.0.0.0") / udp()) == UNLISTED


@pytest.mark.parametrize("slot", range(SLOTS))
def test_the_address_zero_is_found_behind_empty_slots(firewall: Firewall, slot: int) -> None:
    """Slots in front of it may be empty: freed ones stay so until a grace period has passed."""
    put_in_slot(firewall, "0.0.0.0", 0, slot)
    assert firewall.run(frame4("0.0.0.0") / udp()) == BLOCKED


def test_the_address_zero_is_found_in_its_second_line(make_firewall: MakeFirewall) -> None:
    """Where its first has an empty slot again."""
    firewall = make_firewall(engine="buckets", lines=64)
    hosts = tables_of(firewall).hosts
    firewall.put_class(BLOCK, DROP)
    assert hosts.line_of(0, 0) != hosts.line_of(0, 1)
    put_in_slot(firewall, "0.0.0.0", 1, 3)
    hosts.mark(hosts.line_of(0, 0), OVERFLOW)
    assert firewall.run(frame4("0.0.0.0") / udp()) == BLOCKED


def test_a_slot_with_class_zero_is_empty(firewall: Firewall) -> None:
    """Whatever its address; a prefix that covers the address still counts."""
    put_in_slot(firewall, SOURCE, 0, 2, class_id=0)
    assert firewall.run(frame4(SOURCE) / udp()) == UNLISTED
    firewall.put("198.51.100.0/25", BLOCK)
    assert firewall.run(frame4(SOURCE) / udp()) == BLOCKED


def test_the_length_in_a_slot_is_not_part_of_a_hosts_class(firewall: Firewall, hosts: BucketTable) -> None:
    """The low sixteen bits say something else."""
    index = hosts.line_of(number(SOURCE), 0)
    put_in_slot(firewall, SOURCE, 0, 0)
    hosts.set_slot(index, 0, hosts.line(index).slots[0] | 0xFFFF)
    assert firewall.run(frame4(SOURCE) / udp()) == BLOCKED
    assert firewall.class_counter(BLOCK)[0] == 1


def test_an_unmarked_host_is_not_looked_up(firewall: Firewall, hosts: BucketTable) -> None:
    """The filter decides: userspace sets a bit before the first host of its hash."""
    value = number(SOURCE)
    hosts.set_slot(hosts.line_of(value, 0), 0, value << 32 | BLOCK << 16)
    assert firewall.run(frame4(SOURCE) / udp()) == UNLISTED
    tables_of(firewall).mark_host(value)
    assert firewall.run(frame4(SOURCE) / udp()) == BLOCKED


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("net", [0, 1, 31, 32, 63, 64, (1 << 24) - 1, (1 << 24) - 64, 12648430])
def test_every_position_of_a_net_is_its_own(firewall: Firewall, net: int, host: bool) -> None:
    """The neighbours of a /24 stay clean, within a word of the bitmap or the nets and across words."""

    def address(other: int) -> str:
        return str(IPv4Address(other << 8 | 5))

    firewall.put(address(net) if host else f"{IPv4Address(net << 8)}/24", BLOCK)
    assert firewall.run(frame4(address(net)) / udp()) == BLOCKED
    for other in {net - 1, net + 1, net ^ 32, net ^ 31, net ^ 3, net ^ 64, net ^ 1 << 23}:
        if 0 <= other < 1 << 24:
            assert firewall.run(frame4(address(other)) / udp()) == UNLISTED


def test_other_hosts_of_a_marked_net_pass(firewall: Firewall) -> None:
    """A set bit promises nothing."""
    firewall.put(SOURCE, BLOCK)
    assert firewall.run(frame4("198.51.100.200") / udp()) == UNLISTED
