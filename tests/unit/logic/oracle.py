# SPDX-License-Identifier: Apache-2.0
"""What lists mean, by linear scan over their raw text. Shares no code with the product."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from hypothesis import strategies as st

Address = IPv4Address | IPv6Address


class RawList(NamedTuple):
    """A list as an operator writes it. ends: when each of the texts of a timed list ends."""

    name: str
    verdict: str
    texts: tuple[str, ...]
    monitor: bool = False
    ends: tuple[float, ...] = ()


class Answer(NamedTuple):
    """What lists say of an address: verdict, deciding list, all lists that cover it."""

    verdict: str | None
    list: str | None
    members: frozenset[str]


def judge(lists: Sequence[RawList], address: str, now: float = 0.0) -> Answer:
    """Scan every entry of every list: permanent allow, timed allow, permanent block, timed block."""
    hits = [raw for raw in lists if end_of(raw, address) > now]
    names = frozenset(raw.name for raw in hits)
    for verdict, answer in (("allow", "pass"), ("block", "drop")):
        for timed in (False, True):
            for raw in hits:
                if raw.verdict == verdict and bool(raw.ends) == timed and not raw.monitor:
                    return Answer(answer, raw.name, names)
    return Answer(None, None, names)


def end_of(raw: RawList, address: str) -> float:
    """Until when a list covers the address: 0 if it does not, without end if it is not timed."""
    ends = raw.ends or (float("inf"),) * len(raw.texts)
    covering = [end for text, end in zip(raw.texts, ends, strict=True) if _holds(text, address)]
    return max(covering, default=0.0)


@lru_cache(maxsize=100_000)
def _holds(text: str, address: str) -> bool:
    return ip_address(address) in ip_network(text, strict=False)


def longest(rows: Iterable[tuple[str, int]], address: str) -> int:
    """The class of the longest of *rows* (text, class id) that covers the address, 0 if none does."""
    best, found = -1, 0
    for text, class_id in rows:
        length = covers(text, address)
        if length > best:
            best, found = length, class_id
    return found


@lru_cache(maxsize=100_000)
def covers(text: str, address: str) -> int:
    """The length of a prefix that covers the address, else -1."""
    network = ip_network(text)
    return network.prefixlen if ip_address(address) in network else -1


# Small universes, so that entries meet: sixteen addresses and all prefixes around them.
BASE4, BASE6 = int(IPv4Address("203.0.113.0")), int(IPv6Address("2001:db8::"))
ADDRESSES = [str(IPv4Address(BASE4 + i)) for i in range(18)] + [
    str(IPv6Address(BASE6 + i)) for i in range(10)
]


def entry_texts() -> st.SearchStrategy[str]:
    """Texts of nested entries, sometimes with host bits."""
    v4 = st.builds(
        lambda i, n: f"{IPv4Address(BASE4 + i)}/{n}",
        st.integers(0, 15),
        st.sampled_from([8, 24, 28, 29, 30, 31, 32, 32, 32]),
    )
    v6 = st.builds(
        lambda i, n: f"{IPv6Address(BASE6 + i)}/{n}",
        st.integers(0, 7),
        st.sampled_from([32, 64, 125, 126, 127, 128, 128]),
    )
    return v4 | v4 | v6


def entry_sets(max_size: int = 8) -> st.SearchStrategy[tuple[str, ...]]:
    """Contents of one list."""
    return st.lists(entry_texts(), max_size=max_size).map(tuple)


@st.composite
def raw_lists(draw: st.DrawFn, max_lists: int = 4) -> list[RawList]:
    """Some lists of both verdicts, a few of which only count."""
    count = draw(st.integers(0, max_lists))
    return [
        RawList(
            f"list-{i}",
            draw(st.sampled_from(["block", "block", "allow"])),
            draw(entry_sets()),
            monitor=draw(st.sampled_from([False, False, False, True])),
        )
        for i in range(count)
    ]


ENDS = (10.0, 20.0)
MOMENTS = (5.0, 10.0, 15.0, 25.0)  # before, at, between and after the ends


@st.composite
def timed_lists(draw: st.DrawFn) -> list[RawList]:
    """The two timed lists; what is in one of them has an end."""
    lists = []
    for verdict in ("allow", "block"):
        held = {
            str(ip_network(text, strict=False)): draw(st.sampled_from(ENDS)) for text in draw(entry_sets(5))
        }
        lists.append(RawList(f"operator-{verdict}-timed", verdict, tuple(held), ends=tuple(held.values())))
    return lists


def all_lists(max_lists: int = 3) -> st.SearchStrategy[list[RawList]]:
    """Lists of every kind, in the order in which the product has them."""
    return st.builds(lambda some, timed: [*some, *timed], raw_lists(max_lists), timed_lists())
