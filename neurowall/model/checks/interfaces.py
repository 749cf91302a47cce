# SPDX-License-Identifier: Apache-2.0
"""Interfaces and the operator's own ways in."""

from neurowall.model import origins
from neurowall.model.checks.finding import Report, check_repeats, did_you_mean, listed
from neurowall.model.parts import Failsafe, Interface
from neurowall.model.spans import Spans, family_of, meet, span_of, spans_by_family
from neurowall.model.yamltext import Location

# Where no host can be: "this network", loopback, multicast and reserved.
_NO_HOSTS = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8")
_NO_HOST_SPANS = {
    family: [span_of(text) for text in _NO_HOSTS if family_of(text) == family] for family in (4, 6)
}

_LINK_LOCAL = Spans([span_of("fe80::/10")])
_BOGON_SPANS = {family: [span_of(text) for text in texts] for family, texts in origins.BOGONS.items()}


def check_host(report: Report, at: Location, text: str) -> bool:
    """Report an address or prefix that no host can have, and say whether one can."""
    if any(meet(span_of(text), span) for span in _NO_HOST_SPANS[family_of(text)]):
        report.add(at, f"'{text}' is loopback, multicast, reserved or unspecified: use addresses of hosts")
        return False
    return True


def check_networks(report: Report) -> None:
    """Networks of interfaces: of hosts, and behind one zone only."""
    seen: list[tuple[int, str, Location]] = []
    for index, interface in report.draft.interfaces.items():
        check_repeats(report, ("interfaces", index, "networks"), interface.networks)
        for position, network in enumerate(interface.networks):
            at: Location = ("interfaces", index, "networks", position)
            check_host(report, at, network)
            for other, text, place in seen:
                behind = report.draft.interfaces[other]
                overlaps = family_of(text) == family_of(network) and meet(span_of(text), span_of(network))
                if overlaps and behind.zone != interface.zone:
                    report.add(
                        at,
                        f"'{network}' overlaps {text} of {behind.name} ({report.where(place)}): "
                        "an address lives behind one zone; narrow one of them",
                    )
            seen.append((index, network, at))
            if interface.bogons == "drop" and _is_bogon(network):
                text = f"'{network}' is of special-purpose space, dropped as bogons: set `bogons: pass`"
                report.add(at, text)


def _is_bogon(text: str) -> bool:
    return any(meet(span_of(text), span) for span in _BOGON_SPANS[family_of(text)])


def check_failsafe(report: Report) -> None:
    """Failsafe entries: their interface is there, internal, and lets their source in."""
    draft = report.draft
    by_name = {interface.name: interface for interface in draft.interfaces.values()}
    for index, failsafe in draft.failsafe.items():
        at: Location = ("failsafe", index)
        possible = check_host(report, (*at, "source"), failsafe.source)
        check_host(report, (*at, "address"), failsafe.address)
        if failsafe.interface not in draft.interface_names:
            near = did_you_mean(failsafe.interface, draft.interface_names)
            text = f"'{failsafe.interface}' is not declared: {near}use {listed(draft.interface_names)}"
            report.add((*at, "interface"), text)
            continue
        interface = by_name.get(failsafe.interface)
        if interface is None:
            continue
        if draft.zone_kinds.get(interface.zone) == "external" and not failsafe.allow_external:
            text = f"'{failsafe.interface}' is external: use an internal one, or set allow_external: true"
            report.add((*at, "interface"), text)
        if possible and _is_spoofed(interface, failsafe):
            report.add(
                (*at, "source"),
                f"'{failsafe.source}' is in none of the networks of {interface.name}, so it is dropped as "
                f"spoofed: use one of {listed(interface.networks)}, or add it to `networks`",
            )
        elif possible and (why := _foreign_origin(report, interface, failsafe)):
            report.add((*at, "source"), f"'{failsafe.source}' {why}")


def _foreign_origin(report: Report, interface: Interface, failsafe: Failsafe) -> str:
    """Why the interface's origin checks keep the whole source out, "" if they do not."""
    kinds = report.draft.zone_kinds
    source, family = span_of(failsafe.source), family_of(failsafe.source)
    if interface.spoofing == "drop" or (
        interface.spoofing is None and kinds.get(interface.zone) == "external"
    ):
        for other in report.draft.interfaces.values():
            held = spans_by_family(other.networks).get(family)
            if other.zone != interface.zone and held and held.holds(source):
                return f"lives behind {other.name}, so {interface.name} drops it as spoofed: use that one"
    if interface.bogons == "drop" and Spans(_BOGON_SPANS[family]).holds(source):
        return f"is of special-purpose space, which {interface.name} drops: set bogons: pass there"
    return ""


def _is_spoofed(interface: Interface, failsafe: Failsafe) -> bool:
    """Whether the interface's networks keep the operator out. On the link itself any may talk to any."""
    if not interface.networks:
        return False
    on_link = family_of(failsafe.source) == 6 and all(
        _LINK_LOCAL.holds(span_of(text)) for text in (failsafe.source, failsafe.address)
    )
    spans = spans_by_family(interface.networks).get(family_of(failsafe.source))
    return not on_link and not (spans and spans.meets(span_of(failsafe.source)))
