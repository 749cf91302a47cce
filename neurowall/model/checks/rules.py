# SPDX-License-Identifier: Apache-2.0
"""Rules: fields that go together, and something that can match."""

from neurowall.model.checks.finding import Report, check_repeats, did_you_mean
from neurowall.model.checks.names import check_addresses, check_ends
from neurowall.model.fields import GATEWAY, port_range
from neurowall.model.icmp import TYPES, IcmpProtocol, icmp_type_number
from neurowall.model.rules import PORT_PROTOCOLS, Rule
from neurowall.model.spans import family_of, meet
from neurowall.model.yamltext import Location

ICMP: tuple[IcmpProtocol, ...] = ("icmp", "icmpv6")
_FAMILY_NAMES = {4: "IPv4", 6: "IPv6"}
_PROTOCOL_FAMILIES = {"icmp": 4, "icmpv6": 6}


def check_rules(report: Report) -> None:
    """Every rule by itself."""
    for index, rule in report.draft.rules.items():
        at: Location = ("rules", index)
        check_ends(report, at, rule)
        if GATEWAY in rule.from_ and GATEWAY in rule.to:
            report.add(
                (*at, "to"), "'gateway' is at both ends: what it sends to itself is not filtered; name a zone"
            )
        check_addresses(report, (*at, "source"), rule.source)
        check_addresses(report, (*at, "destination"), rule.destination)
        check_repeats(report, (*at, "protocol"), rule.protocol)
        check_repeats(report, (*at, "state"), rule.state)
        _check_ports(report, at, rule)
        if rule.icmp_types:
            _check_icmp(report, at, rule)
        if rule.source or rule.destination or "icmp" in rule.protocol or "icmpv6" in rule.protocol:
            _check_families(report, at, rule)
        if rule.connection_limit and rule.state != ("new",):
            text = (
                "counts new connections, so it cannot go with another state: remove it, or leave `state` out"
            )
            report.add((*at, "connection_limit"), text)


def _check_ports(report: Report, at: Location, rule: Rule) -> None:
    for name, ports in (("ports", rule.ports), ("source_ports", rule.source_ports)):
        if not ports:
            continue
        _check_port_overlap(report, (*at, name), ports)
        if not rule.protocol:
            text = f"need a protocol that has ports: add `protocol: tcp` ({', '.join(PORT_PROTOCOLS)})"
            report.add((*at, name), text)
    if rule.ports or rule.source_ports:
        for index, protocol in enumerate(rule.protocol):
            if protocol not in PORT_PROTOCOLS:
                text = f"'{protocol}' has no ports: remove it, or give it a rule of its own without ports"
                report.add((*at, "protocol", index), text)


def _check_port_overlap(report: Report, at: Location, ports: tuple[int | str, ...]) -> None:
    if len(ports) == 1:
        return
    ordered = sorted((port_range(port), index) for index, port in enumerate(ports))
    widest, holder = ordered[0]
    for span, index in ordered[1:]:
        if meet(widest, span):
            text = f"{ports[index]} and {ports[holder]} overlap: write each port once"
            report.add((*at, max(index, holder)), text)
        if span[1] > widest[1]:
            widest, holder = span, index


def _check_icmp(report: Report, at: Location, rule: Rule) -> None:
    check_repeats(report, (*at, "icmp_types"), rule.icmp_types)
    protocols = [protocol for protocol in ICMP if protocol in rule.protocol]
    if not protocols:
        report.add((*at, "icmp_types"), "need `protocol: icmp`, `icmpv6` or both")
        return
    for index, protocol in enumerate(rule.protocol):
        if protocol not in ICMP:
            text = f"'{protocol}' has no ICMP types: remove it, or give it a rule of its own"
            report.add((*at, "protocol", index), text)
    for index, text in enumerate(rule.icmp_types):
        if any(icmp_type_number(protocol, text) is not None for protocol in protocols):
            continue
        _refuse_type(report, (*at, "icmp_types", index), text, protocols)


def _refuse_type(report: Report, at: Location, text: str, protocols: list[IcmpProtocol]) -> None:
    other = [protocol for protocol in ICMP if protocol not in protocols and text in TYPES[protocol]]
    if other:
        report.add(
            at, f"'{text}' is a type of {other[0]}, not of {protocols[0]}: write `protocol: {other[0]}`"
        )
        return
    known = dict.fromkeys(name for protocol in protocols for name in TYPES[protocol])
    near = did_you_mean(text, known)
    kinds = " or ".join(protocols)
    report.add(at, f"'{text[:60]}' is no type of {kinds}: {near}use a name such as echo-request, or 0 to 255")


def _check_families(report: Report, at: Location, rule: Rule) -> None:
    """Report a rule that no packet can match, because its fields are of different families."""
    families, why = {4, 6}, ""
    for name, texts in (("source", rule.source), ("destination", rule.destination)):
        entries = report.draft.addresses(texts)
        if not entries:  # without addresses, an empty set, or one that is not known
            continue
        found = {family_of(entry) for entry in entries}
        if not families & found:
            report.add(
                (*at, name), f"is {_words(found)} only, but {why}: no packet matches; mend one of them"
            )
            return
        if len(found) == 1:
            why = f"{name} is {_words(found)}"
        families &= found
    found = {_PROTOCOL_FAMILIES.get(protocol, 0) for protocol in rule.protocol}
    if rule.protocol and 0 not in found and not families & found:
        kind = "icmp" if 4 in found else "icmpv6"
        fix = "icmpv6" if 4 in found else "icmp"
        report.add((*at, "protocol"), f"'{kind}' is {_words(found)} only, but {why}: write `protocol: {fix}`")


def _words(families: set[int]) -> str:
    return " and ".join(_FAMILY_NAMES[family] for family in sorted(families))
