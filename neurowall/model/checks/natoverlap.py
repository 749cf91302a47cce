# SPDX-License-Identifier: Apache-2.0
"""NAT: entries that take from each other, or from the operator's way in."""

from neurowall.model.checks.finding import Report
from neurowall.model.draft import Draft
from neurowall.model.fields import ANY, port_range
from neurowall.model.parts import Failsafe, Interface
from neurowall.model.rules import PortForward
from neurowall.model.spans import family_of, meet, span_of, spans_by_family
from neurowall.model.yamltext import Location


def check_overlaps(report: Report) -> None:
    """Entries of `nat` against each other and against `failsafe`."""
    _check_forwards(report)
    _check_one_to_one(report)
    for index, failsafe in report.draft.failsafe.items():
        _check_failsafe(report, index, failsafe)


def _zones(draft: Draft, zones: tuple[str, ...]) -> set[str]:
    return set(draft.zone_names) if ANY in zones else set(zones)


def _check_forwards(report: Report) -> None:
    """Of two forwards of the same port, the later one must take what the first leaves."""
    by_protocol: dict[str, list[tuple[tuple[int, int], int]]] = {}
    for index, forward in report.draft.port_forwards.items():
        for protocol in forward.protocol:
            by_protocol.setdefault(protocol, []).append((port_range(forward.ports), index))
    pairs: set[tuple[int, int]] = set()
    for spans in by_protocol.values():
        spans.sort()
        for position, (span, index) in enumerate(spans):
            for other_span, other in spans[position + 1 :]:
                if other_span[0] > span[1]:
                    break
                pairs.add((min(index, other), max(index, other)))
    for first, later in sorted(pairs):
        forwards = report.draft.port_forwards
        if _shadows(report.draft, forwards[first], forwards[later]):
            place = report.where(("nat", "port_forwards", first))
            text = f"{forwards[later].ports}: is already forwarded by '{forwards[first].name}' ({place})"
            report.add(
                ("nat", "port_forwards", later, "ports"), f"{text}: use other ports, zones or an own address"
            )


def _shadows(draft: Draft, first: PortForward, later: PortForward) -> bool:
    """Whether the first takes packets that the later one wants, other than as a narrower exception."""
    if family_of(first.to) != family_of(later.to):
        return False
    if not _zones(draft, first.from_) & _zones(draft, later.from_):
        return False
    if first.address and later.address and span_of(first.address) != span_of(later.address):
        return False
    narrower = (first.address and not later.address) or (first.source and not later.source)
    if narrower:
        return False
    if first.source and later.source:
        family = family_of(first.to)
        one = spans_by_family(draft.addresses(first.source) or ()).get(family)
        other = spans_by_family(draft.addresses(later.source) or ()).get(family)
        return bool(one and other and any(one.meets(span) for span in other.spans))
    return True


def _check_one_to_one(report: Report) -> None:
    entries = list(report.draft.one_to_one.items())
    for position, (index, static) in enumerate(entries):
        for first, other in entries[:position]:
            if other.zone != static.zone:
                continue
            for side in ("outside", "inside"):
                mine, theirs = getattr(static, side), getattr(other, side)
                if family_of(mine) == family_of(theirs) and meet(span_of(mine), span_of(theirs)):
                    place = report.where(("nat", "one_to_one", first))
                    text = f"'{mine}' overlaps {theirs} of '{other.name}' ({place}): use each address once"
                    report.add(("nat", "one_to_one", index, side), text)


def _check_failsafe(report: Report, index: int, failsafe: Failsafe) -> None:
    """Destination NAT comes before the failsafe: it must leave the operator's port alone."""
    draft = report.draft
    interface = next((i for i in draft.interfaces.values() if i.name == failsafe.interface), None)
    if interface is None:
        return
    place = f"failsafe on {failsafe.interface} ({report.where(('failsafe', index))})"
    for position, forward in draft.port_forwards.items():
        if _takes(draft, forward, failsafe, interface):
            at: Location = ("nat", "port_forwards", position, "ports")
            text = f"{forward.ports}: would take port {failsafe.port} of the {place}: use another port"
            report.add(at, text)
    for position, static in draft.one_to_one.items():
        same = family_of(static.outside) == family_of(failsafe.address)
        if (
            static.zone == interface.zone
            and same
            and meet(span_of(static.outside), span_of(failsafe.address))
        ):
            text = f"'{static.outside}' would take {failsafe.address} of the {place}: use another address"
            report.add(("nat", "one_to_one", position, "outside"), text)


def _takes(draft: Draft, forward: PortForward, failsafe: Failsafe, interface: Interface) -> bool:
    """Whether a port forward translates what the failsafe is to let in."""
    low, high = port_range(forward.ports)
    if "tcp" not in forward.protocol or not low <= failsafe.port <= high:
        return False
    family = family_of(failsafe.address)
    if family_of(forward.to) != family or not _asks_there(draft, forward, failsafe, interface):
        return False
    if forward.address and span_of(forward.address) != span_of(failsafe.address):
        return False
    if not forward.source:
        return True
    spans = spans_by_family(draft.addresses(forward.source) or ()).get(family)
    return bool(spans and spans.meets(span_of(failsafe.source)))


def _asks_there(draft: Draft, forward: PortForward, failsafe: Failsafe, interface: Interface) -> bool:
    """Whether a port forward is in force for the failsafe's address on its interface."""
    if interface.zone in _zones(draft, forward.from_):
        return True
    if not forward.hairpin or draft.zone_kinds.get(interface.zone) != "internal":
        return False
    if forward.address or not interface.networks:
        return bool(forward.address)
    # Without an address a hairpin leaves the arriving interface's own ones alone.
    own = spans_by_family(interface.networks).get(family_of(failsafe.address))
    return not (own and own.holds(span_of(failsafe.address)))
