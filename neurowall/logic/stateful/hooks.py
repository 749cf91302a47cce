# SPDX-License-Identifier: Apache-2.0
"""The base chains of the filter: what is always accepted, connections by state, the rules, the defaults."""

from collections.abc import Iterable, Iterator, Sequence

from neurowall.logic.stateful import words
from neurowall.logic.stateful.deciding import decided
from neurowall.logic.stateful.parts import Parts
from neurowall.logic.stateful.words import Expression
from neurowall.logic.stateful.zones import HOOKS, Section, Zones, by_interface
from neurowall.model.address import parse_entry
from neurowall.model.policy import Failsafe, Policy
from neurowall.model.rules import Defaults, State
from neurowall.model.ruleset import Hook, Set, text_of

FORWARDED_LABEL = 127
"""The bit of `ct label` that marks connections of port forwards."""
HAIRPIN_LABEL = 126
"""And the one of those whose source is translated too, where they leave by the zone they came from."""
FAILSAFE, INVALID = "failsafe", "state-invalid"
_LOOPBACK = "lo"
_NEIGHBOURS = {"range": [133, 137]}
_LISTENERS = ({"range": [130, 132]}, 143)
_DHCP = {"input": ((67, 68), (547, 546)), "output": ((68, 67), (546, 547))}


FLOWTABLE = "offload"


def add_filter(
    parts: Parts, policy: Policy, zones: Zones, sections: Sequence[Section], *, flowtable: bool
) -> None:
    """Make the three base chains, and what they lead to besides the sections' own chains.

    flowtable: established connections are handed over to it.
    """
    if flowtable:
        hand_over = words.rule({"flow": {"op": "add", "flowtable": f"@{FLOWTABLE}"}})
        parts.chain("flow", (hand_over, words.rule(words.ACCEPT)))
    defaults = policy.defaults or Defaults()
    for hook in HOOKS:
        action = getattr(defaults, hook)
        counter = f"default-{hook}"
        log = defaults.log if action != "accept" else False
        parts.chain(f"default.{hook}", decided(parts, counter, log, f"default {hook} {action}: ", action))
        own = [section for section in sections if section.hook == hook]
        parts.chain(
            hook,
            (
                *_always(parts, policy, hook),
                *_by_state(parts, policy, zones, own, flowtable=flowtable and hook == "forward", hook=hook),
            ),
            Hook("filter", hook, 0, "accept" if action == "accept" else "drop"),
        )


def _always(parts: Parts, policy: Policy, hook: str) -> Iterator[str]:
    """What is accepted before states and rules are asked."""
    if hook == "forward":
        return
    yield words.rule(
        words.matches(words.meta("iifname" if hook == "input" else "oifname"), _LOOPBACK), words.ACCEPT
    )
    parts.chain(f"essential.{hook}", _essential(hook))
    protocols = [[words.PROTOCOLS[name], words.jump(f"essential.{hook}")] for name in ("udp", "icmpv6")]
    yield words.rule(words.verdict_by(words.meta("l4proto"), protocols))
    if hook == "input":
        for failsafe in policy.failsafe:
            count = words.counted(parts.counter(FAILSAFE))
            yield words.rule(*_failsafe_match(failsafe), count, words.ACCEPT)


def _essential(hook: str) -> Iterator[str]:
    """What keeps the link itself alive: neighbours, multicast listeners, the gateway's own DHCP client."""
    ipv6 = words.family_is(6)
    of_type = words.payload("icmpv6", "type")
    hops = words.matches(words.payload("ip6", "hoplimit"), 255)
    yield words.rule(ipv6, words.matches(of_type, _NEIGHBOURS), hops, words.ACCEPT)
    yield words.rule(ipv6, words.is_one_of(of_type, _LISTENERS), words.ACCEPT)
    (source4, target4), (source6, target6) = _DHCP[hook]
    yield words.rule(words.family_is(4), *_ports(source4, target4), words.ACCEPT)
    link_local = words.matches(words.payload("ip6", "saddr"), words.prefix(6, 0xFE80 << 112, 10))
    yield words.rule(ipv6, link_local, *_ports(source6, target6), words.ACCEPT)


def _ports(source: int, target: int) -> tuple[Expression, ...]:
    return (
        words.matches(words.payload("udp", "sport"), source),
        words.matches(words.payload("udp", "dport"), target),
    )


def _failsafe_match(failsafe: Failsafe) -> tuple[Expression, ...]:
    """A packet by the operator's own way in."""
    source = parse_entry(failsafe.source)
    header = words.HEADER[source.family]
    return (
        words.matches(words.meta("iifname"), failsafe.interface),
        words.matches(words.payload(header, "saddr"), words.prefix(*source[:3])),
        words.matches(words.payload(header, "daddr"), failsafe.address),
        words.matches(words.payload("tcp", "dport"), failsafe.port),
    )


def _by_state(
    parts: Parts, policy: Policy, zones: Zones, sections: Sequence[Section], *, hook: str, flowtable: bool
) -> Iterator[str]:
    """Connections that are known, or never will be, first; then the rules for new ones, and the default."""
    new = [section for section in sections if section.state == "new"]
    default = words.goto(f"default.{hook}")
    ends = {
        "established": words.goto("flow") if flowtable else words.ACCEPT,
        "related": words.ACCEPT,
        "invalid": _invalid(parts),
    }
    verdicts: list[tuple[State, Expression]] = []
    for state in ("established", "related", "invalid", "untracked"):
        own = [section for section in sections if section.state == state]
        end = ends.get(state, default)
        if own:
            parts.chain(f"{state}.{hook}", (_dispatch(parts, zones, f"{state}.{hook}", own), words.rule(end)))
            verdicts.append((state, words.goto(f"{state}.{hook}")))
        elif state != "untracked" or new:
            verdicts.append((state, end))
    yield words.rule(words.verdict_by(words.connection("state"), [list(pair) for pair in verdicts]))
    if hook == "forward" and policy.nat.port_forwards:
        yield words.rule(has_label(FORWARDED_LABEL), words.ACCEPT)
    if new:
        yield _dispatch(parts, zones, f"new.{hook}", new)
    yield words.rule(default)


def _invalid(parts: Parts) -> Expression:
    """Where packets of no connection end."""
    name = "invalid"
    if INVALID not in parts.counters:
        parts.chain(name, (words.rule(words.counted(parts.counter(INVALID)), words.DROP),))
    return words.goto(name)


def has_label(bit: int) -> Expression:
    """A connection that carries the label."""
    return words.matches(words.connection("label"), bit, "in")


def _dispatch(parts: Parts, zones: Zones, name: str, sections: Iterable[Section]) -> str:
    """One look at the interfaces leads to the chain of the way."""
    elements = frozenset(
        text_of([words.concatenated(way), words.jump(section.chain)])
        for section in sections
        for way in by_interface(section, zones.interfaces)
    )
    keys = {
        "input": (words.meta("iifname"),),
        "output": (words.meta("oifname"),),
        "forward": (words.meta("iifname"), words.meta("oifname")),
    }[name.rpartition(".")[2]]
    made = parts.map(Set(name, ("ifname",) * len(keys), elements, ("verdict",)))
    return words.rule(words.verdict_by(words.concatenated(keys), made))
