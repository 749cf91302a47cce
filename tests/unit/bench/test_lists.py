# SPDX-License-Identifier: Apache-2.0
import ipaddress
import itertools

import numpy as np
import pytest

from bench import space
from bench.lists import Counts, fill_up, generate
from neurowall.model.entries import EntrySet

MIX = Counts(hosts4=20_000, prefixes4=4_000, hosts6=2_000, prefixes6=500)


@pytest.mark.parametrize(
    "counts", [MIX, Counts(hosts4=1), Counts(prefixes6=3), Counts(), Counts(prefixes4=30_000)]
)
def test_a_generated_list_has_exactly_the_counts(counts: Counts) -> None:
    """Sorted and unique, as the model wants it, which `make` would repair and so shows."""
    made = generate(counts, seed=5)
    assert Counts.of(made) == counts
    for entries in (made.v4, made.v6):
        assert entries == type(entries).make(entries.family, entries.address, entries.length)


def test_the_same_seed_gives_the_same_list_and_another_does_not() -> None:
    """Lists of two seeds share few entries."""
    first = generate(MIX, seed=5)
    assert generate(MIX, seed=5) == first
    other = generate(MIX, seed=6)
    assert len(first.v4.minus(other.v4)) > 0.9 * len(first.v4)


@pytest.mark.parametrize("given", [[], ["8.8.8.8", "9.9.9.0/24", "2a00:1450::1", "2a00:1450::/33"]])
def test_lists_of_one_seed_are_nested(given: list[str]) -> None:
    """Each is a part of every larger one, so that the sources of the smallest are listed in all."""
    sizes = [(1, 1, 1, 1), (40, 8, 9, 5), (5_000, 8, 700, 5), (60_000, 20_000, 3_000, 3_000)]
    start = EntrySet.from_strings(given)
    made = [fill_up(start, Counts(*size), seed=5).entries for size in sizes]
    for smaller, larger in itertools.combinations(made, 2):
        assert len(smaller.minus(larger)) == 0


def test_a_sample_of_a_given_list_is_nested_in_a_larger_one() -> None:
    """And the generated entries of one that needs some are none of those given, chosen or not."""
    given = generate(Counts(hosts4=5_000, prefixes4=500), seed=1)
    sizes = [(10, 300), (1_000, 300), (4_999, 499), (5_001, 501), (9_000, 3_000)]
    made = [fill_up(given, Counts(*size), seed=2) for size in sizes]
    assert [(f.given.hosts4, f.given.prefixes4) for f in made[-2:]] == [(5_000, 500)] * 2
    for smaller, larger in itertools.combinations(made, 2):
        assert len(smaller.entries.minus(larger.entries)) == 0


def test_every_entry_is_ordinary_global_unicast_space() -> None:
    """Checked by the standard library, entry by entry, first and last address."""
    for text in generate(MIX, seed=5).to_strings():
        network = ipaddress.ip_network(text)
        for address in (network[0], network[-1]):
            assert address.is_global, text
            assert not address.is_multicast, text


def test_hosts_cluster_as_in_a_real_list() -> None:
    """IPsum: 86 % of its /24s hold one host, 0.1 % hold 200 or more, 1.85 hosts in the mean."""
    hosts = generate(Counts(hosts4=120_000), seed=5).v4.address
    _, in_24 = np.unique(hosts >> 8, return_counts=True)
    assert (in_24 == 1).mean() == pytest.approx(0.86, abs=0.02)
    assert in_24.mean() == pytest.approx(1.85, abs=0.2)
    assert in_24.max() > 200
    _, in_16 = np.unique(np.unique(hosts >> 8) >> 8, return_counts=True)
    assert np.median(in_16) <= 4
    assert in_16.max() > 30


@pytest.mark.parametrize("count", [1_000, 50_000, 250_000])
def test_three_prefixes_of_ten_are_longer_than_24_and_none_is_huge(count: int) -> None:
    """Figures N1 and N2 want that share, at every size."""
    lengths = generate(Counts(prefixes4=count), seed=5).v4.length
    assert (lengths > 24).mean() == pytest.approx(0.3, abs=0.03)
    assert lengths.min() >= 16


def test_a_small_list_has_the_shape_of_a_large_one() -> None:
    """Hosts share /24s in the same proportion, at 3,000 and at 300,000."""
    shares = []
    for count in (3_000, 300_000):
        _, in_24 = np.unique(generate(Counts(hosts4=count), seed=5).v4.address >> 8, return_counts=True)
        shares.append((in_24 == 1).mean())
    assert shares[0] == pytest.approx(shares[1], abs=0.03)


def test_a_given_list_is_kept_and_filled_up() -> None:
    """All of its entries are in, the counts are the wanted ones."""
    given = EntrySet.from_strings(["8.8.8.8", "9.9.9.0/24", "2a00:1450::1", "1.1.1.1"])
    filled = fill_up(given, Counts(hosts4=100, prefixes4=10, hosts6=5, prefixes6=2), seed=1)
    assert Counts.of(filled.entries) == Counts(100, 10, 5, 2)
    assert filled.given == Counts(2, 1, 1, 0)
    assert not len(given.v4.minus(filled.entries.v4))
    assert not len(given.v6.minus(filled.entries.v6))


def test_a_given_list_that_is_too_long_is_sampled() -> None:
    """Seeded, and from all of it: not the lowest addresses."""
    given = generate(Counts(hosts4=5_000), seed=1)
    filled = fill_up(given, Counts(hosts4=1_000), seed=2)
    assert filled.given == Counts(hosts4=1_000)
    assert not len(filled.entries.v4.minus(given.v4))
    assert np.median(filled.entries.v4.address) == pytest.approx(np.median(given.v4.address), rel=0.2)


def test_given_entries_in_special_space_are_left_out_and_counted() -> None:
    """The harness lives in one of them, and no real source sends from the others."""
    special = [
        "10.1.2.3",
        "198.18.0.2",
        "198.0.0.0/8",
        "224.1.1.1",
        "2001:2:0:1::2",
        "fe80::1",
        "::/1",
        "2002::/16",
    ]
    filled = fill_up(EntrySet.from_strings([*special, "8.8.8.8"]), Counts(hosts4=2, hosts6=1), seed=1)
    assert filled.special == len(special)
    assert filled.given == Counts(hosts4=1)


@pytest.mark.parametrize(
    ("text", "special"),
    [
        ("9.255.255.255", False),
        ("10.0.0.0", True),
        ("11.0.0.0", False),
        ("100.63.255.255", False),
        ("100.64.0.0/16", True),
        ("198.17.255.255", False),
        ("198.20.0.0", False),
        ("223.255.255.255", False),
        ("224.0.0.0", True),
        ("8.0.0.0/7", False),
        ("8.0.0.0/6", True),
        ("2001:200::1", False),
        ("2001:1ff::1", True),
        ("1fff:ffff::1", True),
        ("4000::", True),
        ("2001:db7:ffff::1", False),
        ("2001:db8::/48", True),
        ("2000::/3", True),
    ],
)
def test_the_borders_of_special_space_are_exact(text: str, special: bool) -> None:
    """Prefixes count when any of their addresses does."""
    entries = EntrySet.from_strings([text])
    assert space.special(entries.v6 if ":" in text else entries.v4).tolist() == [special]


def test_given_counts_read_well() -> None:
    """In plans and reports."""
    assert str(MIX) == "20,000 hosts4, 4,000 prefixes4, 2,000 hosts6, 500 prefixes6"
