# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.logic.stateful.fallbackchains import COUNTED
from neurowall.model.ruleset import Ruleset, text_of
from tests.net.probes import Probes
from tests.net.samecorpus import SIDES, behind_authentication, corpus
from tests.net.samepackets import LISTS, SOON, Packet, passes
from tests.net.samesides import ROUNDED, Fates, Story, nft_side, story

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]


@pytest.fixture(scope="module", params=["buckets", pytest.param("classic", marks=pytest.mark.soak)])
def xdp(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Story:
    """The corpus through XDP; with the other engine too where there is time."""
    return story(run, chain, tuple(behind_authentication()), "native", request.param)


@pytest.fixture(scope="module")
def nft(run: Run, chain: Chain) -> Story:
    """The corpus through the nftables form."""
    return story(run, chain, tuple(behind_authentication()), "off")


def disagreements(one: Fates, other: Fates) -> list[Packet]:
    """The packets that one let through and the other did not."""
    return [each for each in corpus() if (each.number in one.through) != (each.number in other.through)]


def deserved(later: float) -> Fates:
    """What becomes of the corpus by the lists as they are written."""
    reasons = {each.number: each.deserves(later) for each in corpus()}
    through = frozenset(number for number, reason in reasons.items() if passes(reason))
    return Fates(through, Counter(reasons.values()))


Moment = Callable[[Story], Fates]
MOMENTS: dict[str, tuple[Moment, float]] = {
    "at first": (lambda told: told.at_first, 0.0),
    "later": (lambda told: told.later, SOON + ROUNDED),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_both_forms_give_every_packet_the_same_verdict(xdp: Story, nft: Story, moment: str) -> None:
    """Whatever either was meant to do: where one lets a packet pass, the other does too."""
    at, _ = MOMENTS[moment]
    assert disagreements(at(xdp), at(nft)) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_both_forms_count_it_under_the_same_reason(xdp: Story, nft: Story, moment: str) -> None:
    """And no packet under none or two."""
    at, _ = MOMENTS[moment]
    assert at(xdp).reasons == at(nft).reasons
    assert sum(at(nft).reasons.values()) == len(corpus())


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_verdict_is_the_one_that_the_lists_say(xdp: Story, nft: Story, moment: str) -> None:
    """By linear scan over the lists as they are written: both could be wrong alike."""
    at, later = MOMENTS[moment]
    expected = deserved(later)
    for fates in (at(xdp), at(nft)):
        assert disagreements(fates, expected) == []
        assert fates.reasons == expected.reasons


def test_the_corpus_holds_what_it_is_to_prove() -> None:
    """Each reason from either side in both families, as far as it can be; and what changes with time."""
    found = {(each.deserves(0.0), each.interface, each.family) for each in corpus()}
    inside, outside = {"destination-allow-list", "destination-block-list"}, {"martian"}
    only6 = {"neighbour-discovery", "multicast-listener"}
    # Bogons are asked for by name: here they would hide all else, see test_origins.py.
    for reason in {each.label for each in COUNTED} - {"bogon"}:
        for side in SIDES[1:] if reason in inside else SIDES[:1] if reason in outside else SIDES:
            for family in (6,) if reason in only6 else (4, 6):
                assert (reason, side, family) in found, (reason, side, family)
    assert len(corpus()) >= 2000
    assert sum(passes(each.deserves(0.0)) != passes(each.deserves(SOON + 1)) for each in corpus()) >= 100


def test_behind_an_authentication_header_nftables_looks_for_nothing(xdp: Story, nft: Story) -> None:
    """The one known difference among packets that both see: there, nothing is essential to nftables."""
    assert xdp.others.reasons == {"neighbour-discovery": 2}
    assert nft.others.reasons == {"block-list": 1, "spoofed": 1}


Change = Callable[[Ruleset], Ruleset]


def rules(chain: str, change: Callable[[list[str]], list[str]]) -> Change:
    """A ruleset in which the rules of one chain are changed."""

    def changed(ruleset: Ruleset) -> Ruleset:
        chains = [
            replace(each, rules=tuple(change(list(each.rules)))) if each.name == chain else each
            for each in ruleset.chains
        ]
        assert tuple(chains) != ruleset.chains
        return replace(ruleset, chains=tuple(chains))

    return changed


def match_dropped(field: str) -> Callable[[list[str]], list[str]]:
    """Rules without the matches that look at a field."""

    def dropped(texts: list[str]) -> list[str]:
        kept = [
            [each for each in json.loads(text) if f'"field":"{field}"' not in text_of(each)] for text in texts
        ]
        return [text_of(each) for each in kept]

    return dropped


def elements_lost(name: str) -> Change:
    """A ruleset in which a set lacks its first element."""

    def changed(ruleset: Ruleset) -> Ruleset:
        assert ruleset.by_name[name].elements
        sets = [
            replace(each, elements=frozenset(sorted(each.elements)[1:])) if each.name == name else each
            for each in ruleset.sets
        ]
        return replace(ruleset, sets=tuple(sets))

    return changed


def blocks(text: str) -> bool:
    """Whether it is the rule of a block list."""
    return '"fallback-block-list"' in text


BREAK: dict[str, Change] = {
    "block lists come first in IPv4": rules(
        "fallback-ipv4", lambda texts: sorted(texts, key=blocks, reverse=True)
    ),
    "block lists come first in IPv6": rules(
        "fallback-ipv6", lambda texts: sorted(texts, key=blocks, reverse=True)
    ),
    "nobody is spoofed": rules("fallback-spoofed", lambda _: []),
    "no source is martian": rules("fallback-origin", lambda texts: texts[3:]),
    "IPv4 from inside may come from outside": rules("fallback-origin", lambda texts: texts[:3] + texts[4:]),
    "IPv4 of our own may come from outside": rules("fallback-origin", lambda texts: texts[:4] + texts[5:]),
    "IPv6 of our own may come from outside": rules("fallback-origin", lambda texts: texts[:7] + texts[8:]),
    "the link's own addresses are spoofed": rules("fallback-spoofed", lambda texts: texts[1:]),
    "IPv4 destinations are not asked for": rules("fallback-destination4", lambda _: []),
    "IPv6 destinations are not asked for": rules("fallback-destination6", lambda _: []),
    "IPv4 groups are asked for": rules("fallback-destination4", lambda texts: texts[1:]),
    "IPv6 groups are asked for": rules("fallback-destination6", lambda texts: texts[1:]),
    "neighbours may be far away": rules("fallback-icmpv6", match_dropped("hoplimit")),
    "listeners may have any address": rules("fallback-icmpv6", match_dropped("saddr")),
    "leases may come from anywhere": rules("fallback-udp", match_dropped("daddr")),
    "services may be asked with options": rules("fallback-failsafe", match_dropped("hdrlength")),
    "services may be asked with extensions": rules("fallback-failsafe", match_dropped("nexthdr")),
    "services may be asked by anybody": rules("fallback-failsafe", match_dropped("saddr")),
    "any port is a service": rules("fallback-failsafe", match_dropped("dport")),
    "headers of TCP are not looked at": rules("fallback-tcp", lambda _: []),
    "headers of UDP are not looked at": rules("fallback-udp", lambda texts: texts[1:]),
    "a host is missing": elements_lost("fallback-block6-hosts"),
    "a prefix is missing": elements_lost("fallback-block4-prefixes"),
    "a timed host is missing": elements_lost("fallback-block6-timed-hosts"),
    "a timed prefix is missing": elements_lost("fallback-allow6-timed-prefixes"),
    "a network is missing": elements_lost("fallback-networks4"),
}


@pytest.mark.parametrize("what", BREAK)
def test_the_corpus_finds_what_is_wrong(chain: Chain, what: str) -> None:
    """A form that is wrong in one thing gives some packet another verdict."""
    with nft_side(chain, change=BREAK[what]) as side:
        assert disagreements(deserved(0.0), side.meet(corpus()))


def test_the_corpus_finds_monitor_lists_that_decide(chain: Chain) -> None:
    """They are only counted."""
    with nft_side(chain, [each._replace(monitor=False) for each in LISTS]) as side:
        assert disagreements(deserved(0.0), side.meet(corpus()))


def test_what_is_let_through_is_forwarded(chain: Chain, probes: Probes) -> None:
    """Through the gateway to the server, with nobody in between; blocked sources do not arrive."""
    friends, others = (
        {"198.51.100.64", "192.0.2.1", "2001:db8:bad:8000::1"},
        {"198.51.100.1", "2001:db8:bad::1"},
    )
    with nft_side(chain):
        assert probes.arrived(*friends, *others) == friends
    assert probes.arrived(*friends, *others) == friends | others
