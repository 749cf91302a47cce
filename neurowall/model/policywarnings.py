# SPDX-License-Identifier: Apache-2.0
"""What is valid in a policy and probably not meant."""

from collections.abc import Iterator

from neurowall.model.checks.whole import forwards
from neurowall.model.draft import draft_of
from neurowall.model.fields import ANY, GATEWAY
from neurowall.model.guards import guards_of
from neurowall.model.matches import Match, match_of, spans_of_sets, zones_in_use
from neurowall.model.policy import Policy
from neurowall.model.shadows import shadowed
from neurowall.model.spans import family_of


def warnings_of(policy: Policy) -> tuple[str, ...]:
    """One sentence a warning, with the field to blame, in the order of the policy file's parts."""
    sets = spans_of_sets(policy)
    matches = [match_of(policy, rule, sets) for rule in policy.rules or ()]
    return (
        *_interface_warnings(policy),
        *_limit_warnings(policy),
        *_set_warnings(policy),
        *_rule_warnings(policy, matches),
        *_default_warnings(policy, matches),
        *_nat_warnings(policy),
        *_forwarding_warnings(policy),
    )


def _interface_warnings(policy: Policy) -> Iterator[str]:
    for index, interface in enumerate(policy.interfaces):
        if interface.bogons == "drop" and not policy.is_external(interface):
            yield (
                f"interfaces[{index}].bogons: '{interface.name}' is internal: hosts with private addresses "
                "behind it are dropped"
            )
        if policy.is_external(interface) and interface.networks:
            yield (
                f"interfaces[{index}].networks: '{interface.name}' is external: packets from elsewhere, "
                "the internet included, are dropped as spoofed there"
            )
            continue
        families = {family_of(network) for network in interface.networks}
        for name, family in (("ipv4", 4), ("ipv6", 6)):
            if families and family not in families and name in policy.forwarding:
                yield (
                    f"interfaces[{index}].networks: none is of {name}, which is forwarded: all of it from "
                    f"'{interface.name}' is dropped as spoofed; add its networks"
                )
    if policy.flows.mode != "off":
        kept = [each for each in policy.interfaces if policy.is_external(each) and each.xdp != "off"]
        if not kept:
            yield "flows.mode: no external interface takes XDP, and flows are kept nowhere else"
    used = zones_in_use(policy)
    for index, zone in enumerate(policy.zones):
        if zone.name not in used:
            yield f"zones[{index}]: '{zone.name}' has no interface: rules for it match nothing"


def _limit_warnings(policy: Policy) -> Iterator[str]:
    without = {interface.name for interface in policy.interfaces if interface.xdp == "off"}
    for index, guard in enumerate(guards_of(policy).limits):
        here = f"limits[{index}] '{guard.limit.name}'"
        if not guard.interfaces:
            yield f"{here}: none of its zones has an interface: it is never asked"
        for name in guard.interfaces:
            if name in without:
                yield f"{here}: is not enforced on '{name}', which is without XDP (`xdp: off`)"


def _set_warnings(policy: Policy) -> Iterator[str]:
    nat = policy.nat
    texts = [
        *(rule.source + rule.destination for rule in policy.rules or ()),
        *(item.source for item in nat.port_forwards),
        *(item.source for item in nat.source),
        *(item.source for item in nat.masquerade),
    ]
    used = {text[1:] for each in texts for text in each if text.startswith("@")}
    for index, each in enumerate(policy.sets):
        if each.name not in used:
            yield f"sets[{index}]: '@{each.name}' is not used"
        elif not each.entries:
            yield f"sets[{index}]: '@{each.name}' is empty: what names it alone matches nothing"


def _rule_warnings(policy: Policy, matches: list[Match]) -> Iterator[str]:
    cover = shadowed(matches)
    kinds = policy.zone_kinds
    for index, match in enumerate(matches):
        rule = match.rule
        if not rule.enabled:
            continue
        here = f"rules[{index}] '{rule.name}'"
        if not match.pairs:
            yield f"{here}: none of its zones has an interface: it matches nothing"
        elif index in cover:
            first = cover[index]
            yield (
                f"{here}: never decides: rules[{first}] '{matches[first].rule.name}' matches all of it; "
                "move it up, or remove it"
            )
        if (
            rule.action == "accept"
            and match.decides
            and rule.to == (GATEWAY,)
            and not (rule.source or rule.protocol)
            and any(zone == ANY or kinds.get(zone) == "external" for zone in rule.from_)
        ):
            yield f"{here}: opens every port of the gateway to everybody outside: name protocol and ports"


def _default_warnings(policy: Policy, matches: list[Match]) -> Iterator[str]:
    if not policy.filters:
        return
    given = policy.defaults
    external = any(policy.is_external(interface) for interface in policy.interfaces)
    if given and external:
        for field, what in (("input", "to the gateway"), ("forward", "through the gateway")):
            if getattr(given, field) == "accept":
                yield f"defaults.{field}: accepts what no rule refuses from the internet {what}: use drop"
    accepts = any(
        match.decides and match.rule.action == "accept" and GATEWAY in match.rule.to for match in matches
    )
    if not accepts and not policy.failsafe and (given is None or given.input != "accept"):
        yield "failsafe: nobody can reach the gateway itself: add a failsafe, or a rule `to: gateway`"


def _nat_warnings(policy: Policy) -> Iterator[str]:
    used = zones_in_use(policy)
    internal = any(not policy.is_external(interface) for interface in policy.interfaces)
    for index, forward in enumerate(policy.nat.port_forwards):
        here = f"nat.port_forwards[{index}] '{forward.name}'"
        if ANY not in forward.from_ and not set(forward.from_) & set(used):
            yield f"{here}: none of its zones has an interface: it matches nothing"
        if forward.hairpin and not internal:
            yield f"{here}: hairpin is for clients in internal zones, and none has an interface"
    for part in ("source", "masquerade"):
        for index, item in enumerate(getattr(policy.nat, part)):
            for field, zones in (("from", item.from_), ("to", item.to)):
                if ANY not in zones and not set(zones) & set(used):
                    yield f"nat.{part}[{index}].{field}: no such zone has an interface: it matches nothing"
    for index, static in enumerate(policy.nat.one_to_one):
        if static.zone not in used:
            yield f"nat.one_to_one[{index}] '{static.name}': zone '{static.zone}' has no interface"


def _forwarding_warnings(policy: Policy) -> Iterator[str]:
    if not forwards(draft_of(policy)):
        return
    if not policy.forwarding:
        yield "forwarding: not set, so forwarded traffic depends on the kernel: add `[ipv4, ipv6]`"
        return
    if "ipv4" not in policy.forwarding and _uses_ipv4_nat(policy):
        yield "forwarding: NAT for IPv4 is given, but 'ipv4' is not forwarded: add it"


def _uses_ipv4_nat(policy: Policy) -> bool:
    nat = policy.nat
    return (
        any("ipv4" in each.families for each in nat.masquerade)
        or any(":" not in each.address for each in nat.source)
        or any(":" not in each.to for each in nat.port_forwards)
        or any(":" not in each.outside for each in nat.one_to_one)
    )
