# SPDX-License-Identifier: Apache-2.0
"""A policy as table `inet neurowall`. Pure, and the same policy always gives the same table."""

from neurowall.logic.stateful.deciding import add_rule
from neurowall.logic.stateful.fallback import Fallback
from neurowall.logic.stateful.hooks import add_filter
from neurowall.logic.stateful.matching import Matcher
from neurowall.logic.stateful.nat import add_nat
from neurowall.logic.stateful.parts import Parts
from neurowall.logic.stateful.sections import add_section
from neurowall.logic.stateful.zones import Section, Zones, sections_of
from neurowall.model.policy import Policy
from neurowall.model.ruleset import Ruleset


def compile_ruleset(policy: Policy, fallback: Fallback | None = None, *, flowtable: bool = False) -> Ruleset:
    """What nftables is to enforce; empty if that is nothing.

    fallback: what stands in for XDP. flowtable: established connections may bypass the stack.
    """
    parts, zones = Parts(), Zones(policy)
    matcher = Matcher({each.name: each.entries for each in policy.sets})
    if policy.filters:
        sections = sections_of(policy, zones)
        for rule in policy.rules or ():
            if rule.enabled:
                add_rule(parts, rule)
        for section in sections:
            if section.name == section.chain:
                add_section(parts, section, matcher)
        # Rules for known connections must see every packet of them.
        flowtable = flowtable and policy.flowtable and not any(_is_bypassed(each) for each in sections)
        add_filter(parts, policy, zones, sections, flowtable=flowtable)
    add_nat(parts, policy, zones, matcher)
    devices = tuple(dict.fromkeys(interface.name for interface in policy.interfaces))
    made = parts.ruleset(devices if policy.filters and flowtable else ())
    if fallback is None:
        return made
    return Ruleset(
        (*made.counters, *fallback.counters),
        (*made.sets, *fallback.sets),
        (*made.chains, *fallback.chains),
        made.flowtable,
    )


def _is_bypassed(section: Section) -> bool:
    return section.hook == "forward" and section.state != "new"
