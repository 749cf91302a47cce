# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.spans import Spans, family_of, meet, span_of, spans_by_family

SPAN = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def members(spans: list[tuple[int, int]]) -> set[int]:
    """Every integer, one by one."""
    return {number for first, last in spans for number in range(first, last + 1)}


@given(st.lists(SPAN), st.lists(SPAN), SPAN)
def test_agrees_with_sets_of_integers(
    one: list[tuple[int, int]], two: list[tuple[int, int]], span: tuple[int, int]
) -> None:
    """Covering, holding and meeting are what they are for the numbers themselves."""
    spans, others, wanted = Spans(one), Spans(two), members([span])
    assert members(list(spans.spans)) == members(one)
    assert spans.holds(span) == (wanted <= members(one))
    assert spans.meets(span) == bool(wanted & members(one))
    assert spans.covers(others) == (members(two) <= members(one))
    assert bool(spans) == bool(one)
    assert all(meet(each, span) == bool(members([each]) & wanted) for each in one)


def test_addresses_by_family() -> None:
    """Prefixes are spans of addresses; families are kept apart."""
    found = spans_by_family(["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/126"])
    assert found[4].spans == (span_of("192.0.2.0/24"),)
    low, high = span_of("2001:db8::/126")
    assert found[6].spans == ((low, high),)
    assert high - low == 3
    assert (family_of("192.0.2.1"), family_of("::1")) == (4, 6)
