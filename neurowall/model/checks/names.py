# SPDX-License-Identifier: Apache-2.0
"""Names: each is used once, and what refers to one finds it."""

from collections.abc import Mapping

from neurowall.model.checks.finding import Report, check_repeats, did_you_mean, listed
from neurowall.model.draft import BUILT_IN_ZONES
from neurowall.model.fields import ANY, GATEWAY
from neurowall.model.rules import Masquerade, OneToOne, PortForward, Rule, SourceNat
from neurowall.model.yamltext import Location


def check_names(report: Report) -> None:
    """Repeated names, and interfaces whose zone does not exist."""
    draft = report.draft
    _check_unique(report, ("interfaces",), {i: each.name for i, each in draft.interfaces.items()})
    _check_unique(report, ("lists",), {i: each.name for i, each in draft.lists.items()})
    _check_unique(report, ("zones",), {i: each.name for i, each in draft.zones.items()})
    _check_unique(report, ("sets",), {i: each.name for i, each in draft.sets.items()})
    _check_unique(report, ("rules",), {i: each.name for i, each in draft.rules.items()})
    _check_unique(report, ("limits",), {i: each.name for i, each in draft.limits.items()})
    _check_unique(report, ("nat", "port_forwards"), {i: each.name for i, each in draft.port_forwards.items()})
    _check_unique(report, ("nat", "one_to_one"), {i: each.name for i, each in draft.one_to_one.items()})
    for index, zone in draft.zones.items():
        if zone.name in BUILT_IN_ZONES:
            report.add(
                ("zones", index, "name"), f"'{zone.name}' is built in: remove it, or choose another name"
            )
    for index, each in draft.sets.items():
        check_repeats(report, ("sets", index, "entries"), each.entries)
    for index, interface in draft.interfaces.items():
        if interface.zone not in draft.zone_names:
            refuse_zone(report, ("interfaces", index, "zone"), interface.zone)


def check_ends(report: Report, at: Location, item: Rule | PortForward | Masquerade | SourceNat) -> None:
    """The zones that an item names in `from` and, unless it is a port forward, in `to`."""
    ends = {"from": item.from_}
    if not isinstance(item, PortForward):
        ends["to"] = item.to
    for field, zones in ends.items():
        known = {ANY, GATEWAY, *report.draft.zone_names} if isinstance(item, Rule) else None
        _check_zones(report, (*at, field), zones, gateway=known is not None)


def _check_zones(report: Report, at: Location, zones: tuple[str, ...], *, gateway: bool) -> None:
    check_repeats(report, at, zones)
    for index, zone in enumerate(zones):
        here = (*at, index)
        if zone == ANY:
            others = [other for other in zones if other not in (ANY, GATEWAY)]
            if others:
                report.add(here, f"'{ANY}' already means every zone: remove {listed(others)}")
        elif zone == GATEWAY:
            if not gateway:
                report.add(here, "'gateway' has no place here: NAT is between zones; name a zone, or any")
            elif len(zones) > 1:
                report.add(here, "'gateway' stands alone: write a rule for it and one for the zones")
        elif zone not in report.draft.zone_names:
            refuse_zone(report, here, zone, rule=gateway)


def check_zone(report: Report, at: Location, item: OneToOne) -> None:
    """The one zone that an item names."""
    if item.zone in (ANY, GATEWAY):
        report.add((*at, "zone"), f"'{item.zone}' is no single zone: name the zone of the outside address")
    elif item.zone not in report.draft.zone_names:
        refuse_zone(report, (*at, "zone"), item.zone)


def check_addresses(report: Report, at: Location, texts: tuple[str, ...]) -> None:
    """Repeated addresses, and sets that are not declared."""
    check_repeats(report, at, texts)
    known = report.draft.set_names
    for index, text in enumerate(texts):
        if text.startswith("@") and text[1:] not in known:
            use = f"use {listed(f'@{name}' for name in known)}, or declare" if known else "declare"
            near = did_you_mean(text[1:], known).replace("'", "'@", 1)
            report.add((*at, index), f"'{text[:60]}' is no set: {near}{use} it under `sets:`")


def refuse_zone(report: Report, at: Location, zone: str, *, rule: bool = False) -> None:
    """Report a zone that does not exist, and say which one was probably meant."""
    known = [*report.draft.zone_names, *((GATEWAY, ANY) if rule else ())]
    interface = next((each for each in report.draft.interfaces.values() if each.name == zone), None)
    if interface:
        report.add(at, f"'{zone}' is an interface: write its zone, '{interface.zone}'")
        return
    near = did_you_mean(zone, known)
    report.add(at, f"'{zone[:60]}' is no zone: {near}use {listed(known)}, or declare it under `zones:`")


def _check_unique(report: Report, at: Location, names: Mapping[int, str]) -> None:
    first: dict[str, int] = {}
    for index, name in names.items():
        if name in first:
            place = report.where((*at, first[name], "name"))
            report.add((*at, index, "name"), f"'{name}' is already used in {place}: names are unique")
        else:
            first[name] = index
