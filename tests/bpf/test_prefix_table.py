# SPDX-License-Identifier: Apache-2.0
"""IPv4 prefixes of the buckets engine: the painted /24s, and the table of what is longer."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import CLASSES, DROP, PASS, Answer, Firewall
from tests.bpf.packets import frame4, udp
from tests.bpf.tables import LONGER, OVERFLOW, SLOTS, SPILL, Tables4

BLOCK, ALLOW = 1, 2
BLOCKED, ALLOWED = Answer(DROP, Reason.BLOCK_LIST), Answer(PASS, Reason.ALLOW_LIST)
UNLISTED = Answer(PASS, Reason.DEFAULT)
NET = int(IPv4Address("198.51.100.0"))
INSIDE, BESIDE = "198.51.100.70", "198.51.100.10"


@pytest.fixture
def firewall(make_firewall: MakeFirewall) -> Firewall:
    """Two lines of longer prefixes; the /24 of the tests has one for each choice."""
    firewall = make_firewall(engine="buckets", lines=2)
    firewall.put_class(BLOCK, DROP)
    firewall.put_class(ALLOW, PASS)
    return firewall


@pytest.fixture
def tables(firewall: Firewall) -> Tables4:
    """Its structures."""
    assert firewall.tables
    return firewall.tables


def ask(firewall: Firewall, source: str) -> Answer:
    """What a packet from *source* gets."""
    return firewall.run(frame4(source) / udp())


def slot(prefix: str, class_id: int) -> int:
    """A slot of the table of longer prefixes."""
    network = IPv4Network(prefix)
    return int(network.network_address) << 32 | class_id << 16 | network.prefixlen


def two_lines(tables: Tables4) -> int:
    """A /24 whose two choices differ, with its bits set so that the table is asked."""
    net = next(
        n
        for n in range(NET >> 8, 1 << 24)
        if tables.longer.line_of(n << 8, 0) != tables.longer.line_of(n << 8, 1)
    )
    tables.mark_nets(net, net)
    tables.flag_net(net)
    return net


def of(net: int, rest: str) -> str:
    """An address or prefix within a /24."""
    return str(IPv4Address(net << 8)).rpartition(".")[0] + rest


@pytest.mark.parametrize("length", range(25, 32))
def test_a_longer_prefix_ends_where_it_says(firewall: Firewall, length: int) -> None:
    """Match and miss, at every length, and the /24 beside it."""
    network = IPv4Network((NET | 64, length), strict=False)
    firewall.put(str(network), BLOCK)
    for address in (network.network_address, network.broadcast_address):
        assert ask(firewall, str(address)) == BLOCKED
    for beside in (network.network_address - 1, network.broadcast_address + 1):
        assert ask(firewall, str(beside)) == UNLISTED
    assert ask(firewall, str(network.network_address + 256)) == UNLISTED


@pytest.mark.parametrize("position", range(SLOTS))
@pytest.mark.parametrize("choice", [0, 1])
def test_it_is_found_in_every_slot_of_either_line(
    firewall: Firewall, tables: Tables4, choice: int, position: int
) -> None:
    """In the second line only where the first says so."""
    net = two_lines(tables)
    first = tables.longer.line_of(net << 8, 0)
    tables.longer.set_slot(tables.longer.line_of(net << 8, choice), position, slot(of(net, ".64/26"), BLOCK))
    assert ask(firewall, of(net, ".70")) == (UNLISTED if choice else BLOCKED)
    tables.longer.mark(first, OVERFLOW)
    assert ask(firewall, of(net, ".70")) == BLOCKED
    assert ask(firewall, of(net, ".10")) == UNLISTED


def test_a_spilled_one_is_found_in_the_trie(firewall: Firewall, tables: Tables4) -> None:
    """Only where the first line says so."""
    net = two_lines(tables)
    first = tables.longer.line_of(net << 8, 0)
    firewall.put_in_trie(IPv4Network(of(net, ".64/26")), BLOCK)
    for flags, expected in ((0, UNLISTED), (OVERFLOW, UNLISTED), (OVERFLOW | SPILL, BLOCKED)):
        tables.longer.mark(first, flags)
        assert ask(firewall, of(net, ".70")) == expected
    assert ask(firewall, of(net, ".10")) == UNLISTED


@pytest.mark.parametrize("where", ["first line", "second line", "trie"])
@pytest.mark.parametrize("outer", ["first line", "second line", "trie", "net"])
def test_the_longest_wins_wherever_it_is(firewall: Firewall, tables: Tables4, where: str, outer: str) -> None:
    """An allowed /28 in each place, inside a blocked /26 in each other."""
    net = two_lines(tables)
    tables.longer.mark(tables.longer.line_of(net << 8, 0), OVERFLOW | SPILL)
    for position, (place, prefix, class_id) in enumerate(
        ((outer, ".0/24" if outer == "net" else ".64/26", BLOCK), (where, ".64/28", ALLOW))
    ):
        if place == "net":
            tables.paint(IPv4Network(of(net, prefix)), class_id)
        elif place == "trie":
            firewall.put_in_trie(IPv4Network(of(net, prefix)), class_id)
        else:
            index = tables.longer.line_of(net << 8, int(place == "second line"))
            tables.longer.set_slot(index, 5 - position, slot(of(net, prefix), class_id))
    assert ask(firewall, of(net, ".70")) == ALLOWED
    assert ask(firewall, of(net, ".90")) == BLOCKED


def test_more_than_two_lines_hold_are_all_found(firewall: Firewall) -> None:
    """Sixty-four /31s of one /24: slots of both lines and the trie; every address is as listed."""
    listed = {f"198.51.100.{4 * i}/31" for i in range(64)}
    for prefix in sorted(listed):
        firewall.put(prefix, BLOCK)
    firewall.put("198.51.100.0/25", ALLOW)
    for last in range(256):
        expected = BLOCKED if last % 4 < 2 else ALLOWED if last < 128 else UNLISTED
        assert ask(firewall, f"198.51.100.{last}") == expected, last


def test_a_net_without_the_flag_is_not_asked_for_longer_ones(firewall: Firewall, tables: Tables4) -> None:
    """The flag keeps the rest at one line; userspace sets it after the slot is there."""
    firewall.put("198.51.100.64/26", BLOCK)
    tables.set_net(NET >> 8, ALLOW)
    assert ask(firewall, INSIDE) == ALLOWED
    tables.set_net(NET >> 8, LONGER | ALLOW)
    assert ask(firewall, INSIDE) == BLOCKED
    assert ask(firewall, BESIDE) == ALLOWED


def test_a_stale_flag_harms_nobody(firewall: Firewall, tables: Tables4) -> None:
    """The table is asked, has nothing, and the painted class counts."""
    firewall.put("198.51.0.0/16", BLOCK)
    tables.flag_net(NET >> 8)
    assert ask(firewall, INSIDE) == BLOCKED
    tables.set_net(NET >> 8, LONGER)
    assert ask(firewall, INSIDE) == UNLISTED


def test_prefixes_of_other_nets_in_the_same_line_do_not_match(firewall: Firewall, tables: Tables4) -> None:
    """A line is shared by many /24s; all its slots are compared by address."""
    net = two_lines(tables)
    index = tables.longer.line_of(net << 8, 0)
    for position in range(SLOTS):
        tables.longer.set_slot(index, position, slot(of(net ^ 1 << position, ".64/26"), BLOCK))
    assert ask(firewall, of(net, ".70")) == UNLISTED


@pytest.mark.parametrize("position", range(SLOTS))
def test_an_empty_slot_matches_nobody(firewall: Firewall, tables: Tables4, position: int) -> None:
    """Nor does one with a length but no class, in front of or behind one that matches."""
    net = two_lines(tables)
    index = tables.longer.line_of(net << 8, 0)
    assert ask(firewall, of(net, ".70")) == UNLISTED
    tables.longer.set_slot(index, position, slot(of(net, ".64/26"), BLOCK))
    assert ask(firewall, of(net, ".70")) == BLOCKED


@pytest.mark.parametrize("prefix", ["0.0.0.0/25", "0.0.0.0/31", "255.255.255.128/25", "255.255.255.254/31"])
def test_the_ends_of_the_range_are_like_any_other(firewall: Firewall, prefix: str) -> None:
    """An empty slot is all zero, as is the address of the first."""
    network = IPv4Network(prefix)
    firewall.put(prefix, BLOCK)
    assert ask(firewall, str(network.network_address)) == BLOCKED
    assert ask(firewall, str(network.broadcast_address)) == BLOCKED
    inside = network.network_address - 1 if int(network.network_address) else network.broadcast_address + 1
    assert ask(firewall, str(inside)) == UNLISTED


@pytest.mark.parametrize("class_id", [1, CLASSES - 1])
@pytest.mark.parametrize("prefix", ["198.51.100.0/24", "198.51.0.0/17", "198.51.100.64/26"])
def test_matches_are_counted_by_class(firewall: Firewall, prefix: str, class_id: int) -> None:
    """Counter, of either structure."""
    firewall.put_class(class_id, DROP)
    firewall.put(prefix, class_id)
    ask(firewall, INSIDE)
    ask(firewall, "203.0.113.1")
    assert firewall.class_counter(class_id)[0] == 1


def test_the_largest_class_of_a_net_is_not_mistaken_for_the_flag(firewall: Firewall, tables: Tables4) -> None:
    """Fifteen bits; an id beyond the table of classes is one that was never defined, and drops."""
    tables.mark_nets(NET >> 8, NET >> 8)
    tables.set_net(NET >> 8, 0x7FFF)
    assert ask(firewall, INSIDE) == BLOCKED


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_nested_prefixes_are_painted_by_length(firewall: Firewall, order: tuple[int, ...]) -> None:
    """The harness's own painting, whatever the order: the other tests build on it."""
    nested = [("198.0.0.0/8", BLOCK), ("198.51.0.0/16", ALLOW), ("198.51.100.0/24", BLOCK)]
    for index in order:
        firewall.put(*nested[index])
    expected = {
        "198.51.100.1": BLOCKED,
        "198.51.101.1": ALLOWED,
        "198.52.0.1": BLOCKED,
        "199.0.0.1": UNLISTED,
    }
    assert {source: ask(firewall, source) for source in expected} == expected
