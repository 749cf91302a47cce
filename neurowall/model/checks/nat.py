# SPDX-License-Identifier: Apache-2.0
"""NAT: each entry by itself."""

from neurowall.model.address import parse_entry
from neurowall.model.checks.finding import Report
from neurowall.model.checks.interfaces import check_host
from neurowall.model.checks.names import check_addresses, check_ends, check_zone
from neurowall.model.fields import port_range
from neurowall.model.rules import Masquerade, OneToOne, PortForward, SourceNat
from neurowall.model.spans import family_of, meet, span_of
from neurowall.model.yamltext import Location

_FAMILIES = {"ipv4": 4, "ipv6": 6}


def check_nat(report: Report) -> None:
    """Every entry of `nat`."""
    draft = report.draft
    for index, forward in draft.port_forwards.items():
        _check_forward(report, ("nat", "port_forwards", index), forward)
    for index, static in draft.one_to_one.items():
        _check_one_to_one(report, ("nat", "one_to_one", index), static)
    for index, source in draft.source.items():
        _check_source(report, ("nat", "source", index), source)
    for index, masquerade in draft.masquerade.items():
        _check_masquerade(report, ("nat", "masquerade", index), masquerade)


def _check_forward(report: Report, at: Location, forward: PortForward) -> None:
    check_ends(report, at, forward)
    check_addresses(report, (*at, "source"), forward.source)
    check_host(report, (*at, "to"), forward.to)
    family = family_of(forward.to)
    if forward.address is not None:
        check_host(report, (*at, "address"), forward.address)
        if family_of(forward.address) != family:
            text = (
                f"'{forward.to}' and address {forward.address} are of different families: give both the same"
            )
            report.add((*at, "to"), text)
        elif span_of(forward.address) == span_of(forward.to):
            report.add((*at, "to"), f"'{forward.to}' is the address itself: name the host inside")
    _check_source_family(report, at, forward.source, family, f"to {forward.to}")
    _check_widths(report, at, forward)


def _check_widths(report: Report, at: Location, forward: PortForward) -> None:
    if forward.to_ports is None:
        return
    (low, high), (to_low, to_high) = port_range(forward.ports), port_range(forward.to_ports)
    if high - low == to_high - to_low:
        return
    last = to_low + high - low
    fix = f"write {to_low}-{last}" if last <= 65535 else "choose a lower first port"
    if high == low:
        fix = f"write {to_low}"
    have = f"{to_high - to_low + 1} for {high - low + 1} in `ports`"
    report.add((*at, "to_ports"), f"{forward.to_ports}: as many are wanted as in `ports`, not {have}: {fix}")


def _check_one_to_one(report: Report, at: Location, static: OneToOne) -> None:
    check_zone(report, at, static)
    check_host(report, (*at, "outside"), static.outside)
    check_host(report, (*at, "inside"), static.inside)
    outside, inside = parse_entry(static.outside), parse_entry(static.inside)
    if outside.family != inside.family:
        text = f"'{static.inside}' is of another family than outside {static.outside}: give both the same"
        report.add((*at, "inside"), text)
    elif outside.length != inside.length:
        text = (
            f"'{static.inside}' and outside {static.outside} are of different lengths: "
            f"make both /{max(outside.length, inside.length)}"
        )
        report.add((*at, "inside"), text)
    elif meet(span_of(static.outside), span_of(static.inside)):
        report.add(
            (*at, "inside"), f"'{static.inside}' overlaps outside {static.outside}: nothing to translate"
        )


def _check_source(report: Report, at: Location, source: SourceNat) -> None:
    check_ends(report, at, source)
    check_addresses(report, (*at, "source"), source.source)
    check_host(report, (*at, "address"), source.address)
    _check_source_family(report, at, source.source, family_of(source.address), f"address {source.address}")


def _check_masquerade(report: Report, at: Location, masquerade: Masquerade) -> None:
    check_ends(report, at, masquerade)
    check_addresses(report, (*at, "source"), masquerade.source)
    kinds = report.draft.zone_kinds
    for index, zone in enumerate(masquerade.from_):
        if kinds.get(zone) == "external":
            text = f"'{zone}' is external: masquerade hides what is inside; swap `from` and `to`"
            report.add((*at, "from", index), text)
    entries = report.draft.addresses(masquerade.source)
    wanted = {_FAMILIES[family] for family in masquerade.families}
    if entries and not wanted & {family_of(entry) for entry in entries}:
        fix = "families: ipv6" if wanted == {4} else "families: ipv4"
        report.add((*at, "source"), f"holds no address of `families`: set `{fix}`, or use other addresses")


def _check_source_family(
    report: Report, at: Location, source: tuple[str, ...], family: int, what: str
) -> None:
    entries = report.draft.addresses(source)
    if entries and family not in {family_of(entry) for entry in entries}:
        report.add((*at, "source"), f"has no IPv{family} address, as {what} is: add some, or leave it out")
