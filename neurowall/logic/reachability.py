# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom: what the rules of a policy let from each zone to each other one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from neurowall.model.fields import ANY, GATEWAY
from neurowall.model.matches import Match, Pair, match_of, spans_of_sets, zones_in_use
from neurowall.model.policy import Policy
from neurowall.model.rules import Action, Defaults, PortForward, Rule
from neurowall.model.spans import family_of, span_of, spans_by_family


@dataclass(frozen=True)
class Service:
    """Some new connections and what becomes of them. rule: the name of the rule or port forward."""

    action: Action
    text: str
    rule: str


@dataclass(frozen=True)
class Cell:
    """What may go from one zone to another: services in the order in which they are asked, then the rest."""

    services: tuple[Service, ...]
    rest: Action


@dataclass(frozen=True)
class Matrix:
    """All pairs. ends: zones that have interfaces, then `gateway`. notes: NAT, and rules for other states."""

    ends: tuple[str, ...]
    cells: Mapping[Pair, Cell]
    notes: tuple[str, ...]


def matrix(policy: Policy) -> Matrix:
    """What the policy lets new connections do. Lists, spoofing and the failsafe come before that."""
    zones = zones_in_use(policy)
    ends = (*zones, GATEWAY)
    sets = spans_of_sets(policy)
    matches = [match_of(policy, rule, sets) for rule in policy.rules or ()]
    matches = [match for match in matches if match.decides and "new" in match.states]
    cells = {
        (one, other): _cell(policy, matches, (one, other))
        for one in ends
        for other in ends
        if (one, other) != (GATEWAY, GATEWAY)
    }
    return Matrix(ends, cells, (*_forward_notes(policy), *_nat_notes(policy), *_state_notes(policy)))


def _cell(policy: Policy, matches: list[Match], pair: Pair) -> Cell:
    rest = _default(policy, pair)
    services = list(_forwarded(policy, pair))
    seen: list[Match] = []
    for match in matches:
        if pair not in match.pairs or any(each.covers(match, frozenset([pair])) for each in seen):
            continue
        if not match.limited:
            seen.append(match)
        text = _described(match.rule)
        if not text:
            rest = match.rule.action
            break
        services.append(Service(match.rule.action, text, match.rule.name))
    if rest != "accept":  # what is refused anyway need not be said
        while services and services[-1].action != "accept":
            services.pop()
    return Cell(tuple(services), rest)


def _default(policy: Policy, pair: Pair) -> Action:
    if not policy.filters:
        return "accept"
    given = policy.defaults or Defaults()
    if pair[1] == GATEWAY:
        return given.input
    return given.output if pair[0] == GATEWAY else given.forward


def _described(rule: Rule) -> str:
    """What of a pair's connections a rule is about; nothing if all."""
    words = [_protocols(rule)]
    if rule.source_ports:
        words.append("from ports " + _ports(rule.source_ports))
    if rule.source:
        words.append("from " + ", ".join(rule.source))
    if rule.destination:
        words.append("to " + ", ".join(rule.destination))
    if rule.rate:
        each = " per source" if rule.rate.per == "source" else ""
        words.append(f"up to {rule.rate.at_most}{each}")
    if rule.connection_limit:
        each = " per source" if rule.connection_limit.per == "source" else ""
        words.append(f"up to {rule.connection_limit.at_most} connections{each}")
    described = " ".join(word for word in words if word)
    return f"everything {described}" if described and not words[0] else described


def _protocols(rule: Rule) -> str:
    detail = f" {_ports(rule.ports)}" if rule.ports else ""
    if rule.icmp_types:
        detail = " " + ", ".join(rule.icmp_types)
    return "/".join(rule.protocol) + detail


def _ports(ports: tuple[int | str, ...]) -> str:
    return ", ".join(str(port) for port in ports)


def _clients(policy: Policy, forward: PortForward) -> set[str]:
    """The zones whose clients may use a port forward."""
    zones = zones_in_use(policy)
    clients = set(zones) if ANY in forward.from_ else set(forward.from_) & set(zones)
    if forward.hairpin:
        clients |= {zone for zone in zones if policy.zone_kinds[zone] == "internal"}
    return clients


def _home(policy: Policy, address: str) -> str | None:
    """The zone where a host lives: by the interfaces' networks, or the only internal one."""
    for interface in policy.interfaces:
        spans = spans_by_family(interface.networks).get(family_of(address))
        if spans and spans.holds(span_of(address)):
            return interface.zone
    internal = [zone for zone in zones_in_use(policy) if policy.zone_kinds[zone] == "internal"]
    return internal[0] if len(internal) == 1 else None


def _forwarded(policy: Policy, pair: Pair) -> Iterator[Service]:
    for forward in policy.nat.port_forwards:
        if pair[0] in _clients(policy, forward) and _home(policy, forward.to) == pair[1]:
            ports = forward.to_ports or forward.ports
            source = f" from {', '.join(forward.source)}" if forward.source else ""
            text = f"{'/'.join(forward.protocol)} {ports}{source} to {forward.to} (forwarded)"
            yield Service("accept", text, forward.name)


def _forward_notes(policy: Policy) -> Iterator[str]:
    for forward in policy.nat.port_forwards:
        outside = forward.address or "the gateway's address"
        inside = f"{forward.to} port {forward.to_ports or forward.ports}"
        clients = _joined([zone for zone in zones_in_use(policy) if zone in _clients(policy, forward)])
        yield (
            f"Port forward `{forward.name}`: {'/'.join(forward.protocol)} {forward.ports} of {outside} goes "
            f"to {inside}, for clients in {clients}."
        )


def _nat_notes(policy: Policy) -> Iterator[str]:
    nat = policy.nat
    for static in nat.one_to_one:
        yield f"One to one `{static.name}`: {static.outside} in {static.zone} is {static.inside} inside."
    for source in nat.source:
        of = f" of {', '.join(source.source)}" if source.source else ""
        ends = f"From {_joined(source.from_)} to {_joined(source.to)}"
        yield f"{ends}, the source{of} becomes {source.address}."
    for masquerade in nat.masquerade:
        families = _joined([{"ipv4": "IPv4", "ipv6": "IPv6"}[family] for family in masquerade.families])
        of = f" of {', '.join(masquerade.source)}" if masquerade.source else ""
        ends = f"From {_joined(masquerade.from_)} to {_joined(masquerade.to)}"
        yield f"{ends}, the {families} source{of} becomes the gateway's address."


def _state_notes(policy: Policy) -> Iterator[str]:
    for rule in policy.rules or ():
        if rule.enabled and "new" not in rule.state:
            verb = (
                "counts"
                if rule.monitor
                else {"accept": "accepts", "drop": "drops", "reject": "rejects"}[rule.action]
            )
            yield f"Rule `{rule.name}` {verb} packets in state {_joined(rule.state)}."
        elif rule.enabled and rule.monitor:
            yield f"Rule `{rule.name}` counts and decides nothing."


def _joined(words: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def markdown(reach: Matrix) -> str:
    """The matrix as a Markdown table, from rows to columns, with its notes below."""
    lines = [
        "| from | " + " | ".join(f"to {end}" for end in reach.ends) + " |",
        "|---" * (len(reach.ends) + 1) + "|",
    ]
    for one in reach.ends:
        cells = [_cell_text(reach.cells.get((one, other))) for other in reach.ends]
        lines.append(f"| **{one}** | " + " | ".join(cells) + " |")
    notes = [f"- {note}" for note in reach.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return ""
    parts = [
        service.text if service.action == "accept" else f"not {service.text.removeprefix('everything ')}"
        for service in cell.services
    ]
    if cell.rest == "accept":
        parts.append("everything else" if parts else "everything")
    elif cell.rest == "reject":
        parts.append("the rest is rejected" if parts else "nothing (rejected)")
    return "<br>".join(parts) or "nothing"
