# SPDX-License-Identifier: Apache-2.0
"""What the rules of a policy do to one packet that reached nftables."""

from neurowall.logic.guardcheck import failsafe_of
from neurowall.logic.packettext import MLD_TYPES, ND_TYPES, Packet
from neurowall.logic.packetverdict import End, Outcome, Step
from neurowall.logic.rulematch import Path, Scan, Sets, scan, sets_of, within
from neurowall.model.policy import Policy
from neurowall.model.rules import Defaults, Rule


def check_filter(policy: Policy, packet: Packet, path: Path, forward: str | None, steps: list[Step]) -> End:
    """Decide over a packet whose destination is translated. *forward*: the port forward that did it."""
    if end := _built_in(policy, packet, path):
        steps.append(Step(end.stage, end.verdict, f"accepted before all rules: {end.name}", end.name))
        return end
    if not policy.filters:
        steps.append(
            Step("unfiltered", "accept", "the policy has neither rules nor defaults: nothing filters")
        )
        return End("accept", "unfiltered")
    if forward is not None and path.hook == "forward" and packet.state == "new":
        steps.append(
            Step("port-forward", "accept", f"connections of port forward {forward} are accepted", forward)
        )
        return End("accept", "port-forward", forward)
    sets = sets_of(policy)
    found = scan(policy.rules or (), path, packet, sets)
    steps.extend(
        Step("rules", "count", f"monitor rule {rule.name} counts it, and decides nothing", rule.name)
        for rule in found.counted
    )
    if found.decides:
        return _ruled(policy, packet, path, found, found.decides, sets, steps)
    steps.append(Step("rules", "continue", _no_rule(path, packet, found)))
    end = _after_rules(policy, packet, path)
    steps.append(Step(end.stage, end.verdict, _said(end, packet), end.name))
    return end


def _built_in(policy: Policy, packet: Packet, path: Path) -> End | None:
    """What input and output accept before they ask anything."""
    if "lo" in (packet.via, packet.to):
        return End("accept", "built-in", "loopback")
    if path.hook == "forward":
        return None
    if packet.protocol == "icmpv6":
        if packet.icmp_type in ND_TYPES and packet.hop_limit == 255:
            return End("accept", "built-in", "neighbour discovery")
        if packet.icmp_type in MLD_TYPES:
            return End("accept", "built-in", "multicast listener discovery")
    if _is_dhcp(packet, path.hook):
        return End("accept", "built-in", "DHCP")
    entry = failsafe_of(policy.failsafe, packet)
    return End("accept", "failsafe", "failsafe") if entry else None


def _is_dhcp(packet: Packet, hook: str) -> bool:
    """Between the gateway's own DHCP client and a server."""
    if packet.protocol != "udp":
        return False
    ports = (packet.source_port, packet.destination_port)
    server, client = (67, 68) if packet.family == 4 else (547, 546)
    if ports != ((server, client) if hook == "input" else (client, server)):
        return False
    return packet.family == 4 or within("fe80::/10", packet.source)


def _ruled(
    policy: Policy, packet: Packet, path: Path, found: Scan, rule: Rule, sets: Sets, steps: list[Step]
) -> End:
    limits = limits_of(rule)
    end = End(rule.action, "rules", rule.name, limits)
    text = f"rule {rule.name} decides: {rule.action}"
    if limits:
        text += f" {' and '.join(limits)}; beyond that {_beyond(policy, packet, path, found, sets)}"
    steps.append(Step("rules", rule.action, text, rule.name))
    return end


def _beyond(policy: Policy, packet: Packet, path: Path, found: Scan, sets: Sets) -> str:
    """What decides once the limits of a rule are reached."""
    rest = scan(found.rest, path, packet, sets)
    if rest.decides:
        return f"rule {rest.decides.name}: {rest.decides.action}"
    end = _after_rules(policy, packet, path)
    return f"{end.name}: {end.verdict}"


def limits_of(rule: Rule) -> tuple[str, ...]:
    """The limits under which a rule matches, in words."""
    words = []
    if rule.rate:
        whose = " of each source" if rule.rate.per == "source" else ""
        words.append(f"while under {rule.rate.at_most}{whose} (burst {rule.rate.burst})")
    if rule.connection_limit:
        whose = " of each source" if rule.connection_limit.per == "source" else ""
        words.append(f"while there are at most {rule.connection_limit.at_most} connections{whose}")
    return tuple(words)


def _after_rules(policy: Policy, packet: Packet, path: Path) -> End:
    """What becomes of a packet that no rule matches."""
    if packet.state in ("established", "related"):
        return End("accept", "state", packet.state)
    if packet.state == "invalid":
        return End("drop", "state", packet.state)
    defaults = policy.defaults or Defaults()
    actions: dict[str, Outcome] = {
        "input": defaults.input,
        "forward": defaults.forward,
        "output": defaults.output,
    }
    return End(actions[path.hook], "defaults", f"defaults.{path.hook}")


def _said(end: End, packet: Packet) -> str:
    if end.stage == "defaults":
        return f"{end.name} decides: {end.verdict}"
    does = "is dropped" if end.verdict == "drop" else "belongs to a connection that was accepted"
    return f"conntrack says {packet.state}: it {does}"


def _no_rule(path: Path, packet: Packet, found: Scan) -> str:
    between = f"{ends_of(path)} for state {packet.state}"
    count = "1 rule" if found.asked == 1 else f"{found.asked} rules"
    text = f"none of {count} {between} matches" if found.asked else f"no rule {between}"
    near = [
        f"{each.rule} (it is disabled)"
        if each.field == "enabled"
        else f"{each.rule} (but for its {each.field})"
        for each in found.near
    ]
    return f"{text}; closest: {', '.join(near)}" if near else text


def ends_of(path: Path) -> str:
    """`from lan to external`, as rules have it."""
    nowhere = "an interface that is not declared"
    arrives = "gateway" if path.hook == "output" else path.arrives or nowhere
    leaves = "gateway" if path.hook == "input" else path.leaves or nowhere
    return f"from {arrives} to {leaves}"
