# SPDX-License-Identifier: Apache-2.0
import ipaddress
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.traffic.probes import covered, make_pool
from neurowall.model.entries import DTYPE, EntrySet

RNG = 7


def addresses(family: int, texts: Iterable[str]) -> np.ndarray:
    """Addresses as the model keeps them."""
    values = [ipaddress.ip_address(text) for text in texts]
    if family == 4:
        return np.array([int(value) for value in values], DTYPE[4])
    return np.frombuffer(b"".join(value.packed for value in values), DTYPE[6])


def texts(family: int, values: np.ndarray) -> set[str]:
    """The reverse."""
    if family == 4:
        return {str(ipaddress.IPv4Address(int(value))) for value in values}
    return {str(ipaddress.IPv6Address(bytes(value).ljust(16, b"\0"))) for value in values}


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(family: int) -> st.SearchStrategy[Network]:
    """Prefixes that often share their neighbourhood."""
    bits = 32 if family == 4 else 128
    crowded = st.integers((1 << bits) - 64, (1 << bits) - 1)
    make = ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network
    return st.builds(
        lambda value, length: make((value, length), strict=False),
        crowded | st.integers(0, (1 << bits) - 1),
        st.integers(1, bits),
    )


@given(st.data(), st.sampled_from([4, 6]))
def test_oracle_agrees_with_a_scan_by_the_standard_library(
    data: st.DataObject, family: Literal[4, 6]
) -> None:
    """For any entries and addresses, covered() is what ipaddress says entry by entry."""
    drawn = data.draw(st.lists(networks(family), min_size=1, max_size=8))
    inside = data.draw(st.sampled_from(drawn))
    points = [inside[0], inside[-1], *data.draw(st.lists(st.ip_addresses(v=family), max_size=5))]
    entries = EntrySet.from_strings(map(str, drawn)).family(family)
    found = covered(entries, addresses(family, map(str, points)))
    assert found.tolist() == [any(point in network for network in drawn) for point in points]


def test_pool_holds_edges_of_prefixes_and_neighbours_of_hosts() -> None:
    """First and last members must be blocked, what lies beside them must not, in both families."""
    entries = EntrySet.from_strings(["8.8.8.0/30", "9.9.9.9", "2600:1::/64", "2600:2::7"])
    pool = make_pool(entries.v4, np.random.default_rng(RNG))
    assert {"8.8.8.0", "8.8.8.3", "9.9.9.9"} <= texts(4, pool.listed)
    assert {"8.8.7.255", "8.8.8.4", "9.9.9.8", "9.9.9.10"} <= texts(4, pool.near)
    pool = make_pool(entries.v6, np.random.default_rng(RNG))
    assert {"2600:1::", "2600:1::ffff:ffff:ffff:ffff", "2600:2::7"} <= texts(6, pool.listed)
    assert {"2600:1:0:1::", "2600:2::6", "2600:2::8"} <= texts(6, pool.near)


def test_neighbours_that_are_listed_themselves_are_left_out() -> None:
    """9.9.9.10 is beside 9.9.9.9 and inside a prefix."""
    entries = EntrySet.from_strings(["9.9.9.9", "9.9.9.10", "9.9.9.12/30"])
    near = texts(4, make_pool(entries.v4, np.random.default_rng(RNG)).near)
    assert {"9.9.9.8", "9.9.9.11", "9.9.9.16"} <= near
    assert not near & {"9.9.9.9", "9.9.9.10", "9.9.9.12", "9.9.9.15"}


def test_addresses_that_no_stack_accepts_are_no_probes() -> None:
    """What a gateway refuses without any firewall proves nothing."""
    entries = EntrySet.from_strings(["126.255.255.255", "223.255.255.255", "198.18.7.0/24", "10.0.0.0/8"])
    pool = make_pool(entries.v4, np.random.default_rng(RNG))
    assert texts(4, pool.listed) == {"126.255.255.255", "223.255.255.255"}
    assert not texts(4, pool.near) & {"127.0.0.0", "224.0.0.0", "198.18.8.0", "198.18.6.255", "9.255.255.256"}


@pytest.mark.parametrize("family", [4, 6])
def test_pool_without_entries_has_only_addresses_that_must_pass(family: int) -> None:
    """With no rules there is nothing to block and still something to prove."""
    pool = make_pool(EntrySet.empty().family(family), np.random.default_rng(RNG))
    listed, near = pool.draw(256, np.random.default_rng(RNG))
    assert (len(listed), len(near)) == (0, 256)
