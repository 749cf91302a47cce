# SPDX-License-Identifier: Apache-2.0
"""What XDP does, in the words of nftables, for interfaces where no XDP program attaches.

The same order, the same verdicts and the same reasons as in ARCHITECTURE.md, "A packet". What nftables does
not see as XDP does: frames that the IP layer discards before, fragments (it sees them reassembled wherever
connections are tracked), tags (a VLAN is an interface of its own), and of the checks of headers it has only
a TCP data offset below 5 and a UDP length below 8. Ends are rounded to seconds, and the failsafe's packets a
second are those of a token bucket.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import loads

from neurowall.logic.stateful.fallbackchains import (
    BOGONS,
    CHECKED,
    COUNTED,
    INTERFACES,
    INTERNAL,
    SPOOFING,
    Asked,
    chains_of,
    counter_name,
    foreign_name,
    networks_name,
)
from neurowall.logic.stateful.listelements import outermost, sets_of, texts
from neurowall.model.counters import Counter
from neurowall.model.entries import EntrySet
from neurowall.model.guards import Guard, Guards
from neurowall.model.intent import HeldList
from neurowall.model.reasons import Reason
from neurowall.model.ruleset import Chain, Ruleset, Set, text_of


@dataclass(frozen=True)
class Fallback:
    """What is to be merged into table `inet neurowall`; every name begins with `fallback`."""

    counters: tuple[str, ...] = ()
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()

    def into(self, ruleset: Ruleset) -> Ruleset:
        """The ruleset with this merged in."""
        return replace(
            ruleset,
            counters=(*ruleset.counters, *self.counters),
            sets=(*ruleset.sets, *self.sets),
            chains=(*ruleset.chains, *self.chains),
        )


def fallback(
    guards: Guards, names: Collection[str], lists: Sequence[HeldList], limit: int, now: float
) -> Fallback:
    """What XDP would do for the interfaces *names*; empty if *guards* has none of them.

    now: Unix time in seconds. Elements with an end say how long it is from then: a later call gives others,
    and only what was made just now may be written.
    Raises CapacityError, naming the list that crosses it, if the lists need more than *limit* elements.
    """
    here = [guard for guard in guards.interfaces if guard.name in names]
    if not here:
        return Fallback()
    listed = sets_of(lists, limit, now)
    failsafe = [entry for entry in guards.failsafe if entry.interface in {guard.name for guard in here}]
    checked = [guard for guard in here if guard.networks is not None]
    internal = [guard for guard in here if guard.checks_destination] if listed else []
    spoofing = [guard for guard in here if guard.spoofing]
    bogons = [guard for guard in here if guard.bogons]
    asked = Asked(bool(checked), bool(internal), bool(spoofing), bool(bogons))
    return Fallback(
        tuple(counter_name(reason) for reason in COUNTED),
        (
            _names(INTERFACES, here),
            *([_names(CHECKED, checked), *_networks(checked)] if checked else ()),
            *([_names(INTERNAL, internal)] if internal else ()),
            *([_names(SPOOFING, spoofing), *_foreign(spoofing)] if spoofing else ()),
            *([_names(BOGONS, bogons)] if bogons else ()),
            *(each.set for each in listed),
        ),
        tuple(chains_of(listed, failsafe, asked)),
    )


def packets_by_reason(counters: Mapping[str, Counter]) -> dict[Reason, Counter]:
    """What these chains counted, out of all named counters; bytes are those of IP packets, not of frames."""
    names = {counter_name(reason): reason for reason in COUNTED}
    return {names[name]: counter for name, counter in counters.items() if name in names}


def _names(name: str, guards: Sequence[Guard]) -> Set:
    return Set(name, ("ifname",), frozenset(text_of(guard.name) for guard in guards))


def _networks(guards: Sequence[Guard]) -> Iterator[Set]:
    """What lives behind these interfaces, as far as we were told."""
    return _prefixes(networks_name, {guard.name: guard.networks or () for guard in guards})


def _foreign(guards: Sequence[Guard]) -> Iterator[Set]:
    """What lives behind other zones than theirs."""
    return _prefixes(foreign_name, {guard.name: guard.foreign for guard in guards})


def _prefixes(name: Callable[[int], str], by_interface: Mapping[str, Sequence[str]]) -> Iterator[Set]:
    for family, address in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        elements = frozenset(
            text_of({"concat": [interface, loads(text)]})
            for interface, prefixes in by_interface.items()
            for text in texts(outermost(EntrySet.from_strings(prefixes).family(family)))
        )
        yield Set(name(family), ("ifname", address), elements, interval=True)
