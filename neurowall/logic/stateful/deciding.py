# SPDX-License-Identifier: Apache-2.0
"""The chain that a matching rule leads to: its limits, log, counter and verdict."""

from neurowall.logic.stateful import words
from neurowall.logic.stateful.parts import Parts
from neurowall.logic.stateful.words import Expression
from neurowall.model.rules import Action, Log, LogField, Rule

SOURCES = 65_536
"""Sources that a limit `per: source` tells apart at a time. Beyond, the rule does not match further ones."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def chain_of(rule: Rule) -> str:
    """The name of a rule's chain."""
    return f"rule.{rule.name}"


def counter_of(rule: Rule) -> str:
    """The name of a rule's counter."""
    return f"rule-{rule.name}"


def is_final(rule: Rule) -> bool:
    """Whether a packet that the rule's fields match is always decided by it."""
    return not (rule.monitor or rule.rate or rule.connection_limit)


def leads_to(rule: Rule) -> Expression:
    """The verdict of a matching packet: a rule that may not decide must come back."""
    return (words.goto if is_final(rule) else words.jump)(chain_of(rule))


def add_rule(parts: Parts, rule: Rule) -> None:
    """Make the rule's counter and chain, and a second one where limits come first."""
    hit = decided(
        parts,
        counter_of(rule),
        rule.log,
        f"{rule.name} {'monitor' if rule.monitor else rule.action}: ",
        None if rule.monitor else rule.action,
    )
    limits = _limits(rule)
    if limits == [()]:
        parts.chain(chain_of(rule), hit)
        return
    within = parts.chain(f"{chain_of(rule)}.within", hit)
    parts.chain(chain_of(rule), (words.rule(*limit, words.goto(within)) for limit in limits))


def decided(parts: Parts, counter: str, log: LogField, prefix: str, action: Action | None) -> tuple[str, ...]:
    """The rules that count, log and decide; None decides nothing."""
    return (*logged(log, prefix), *_verdict(words.counted(parts.counter(counter)), action))


def _verdict(count: Expression, action: Action | None) -> tuple[str, ...]:
    if action is None:
        return (words.rule(count),)
    if action == "accept":
        return (words.rule(count, words.ACCEPT),)
    if action == "drop":
        return (words.rule(count, words.DROP),)
    return (
        words.rule(count),
        words.rule(words.matches(words.meta("l4proto"), "tcp"), {"reject": {"type": "tcp reset"}}),
        words.rule({"reject": {"type": "icmpx", "expr": "port-unreachable"}}),
    )


def logged(log: LogField, prefix: str) -> tuple[str, ...]:
    """The rule that logs, if one is asked for; *prefix* where the policy gives none."""
    if not log:
        return ()
    asked = log if isinstance(log, Log) else Log()
    statement: dict[str, object] = {"prefix": prefix if asked.prefix is None else asked.prefix}
    # The kernel takes a group or a level, not both; level info keeps the console quiet.
    statement |= {"level": "info"} if asked.group is None else {"group": asked.group}
    return (words.rule(words.limited(asked.rate, asked.burst), {"log": statement}),)


def _limits(rule: Rule) -> list[tuple[Expression, ...]]:
    """The limits as the rules of a chain ask them: one alternative, or one a family where sources count."""
    rate, connections = rule.rate, rule.connection_limit
    by_source = (rate and rate.per == "source") or (connections and connections.per == "source")
    found = []
    for family in words.FAMILIES if by_source else (4,):
        expressions: list[Expression] = [words.family_is(family)] if by_source else []
        if rate:
            limit = words.limited(rate.at_most, rate.burst)
            # A source that was quiet for so long may send a whole burst again, as an unknown one may.
            packets, unit = rate.at_most.split("/")
            quiet = 1 + -(-rate.burst * _SECONDS[unit] // int(packets))
            name = f"rate.{rule.name}.{family}"
            expressions.append(_each(name, family, limit, quiet) if rate.per == "source" else limit)
        if connections:
            limit = {"ct count": {"val": connections.at_most}}
            name = f"connections.{rule.name}.{family}"
            expressions.append(_each(name, family, limit, None) if connections.per == "source" else limit)
        found.append(tuple(expressions))
    return found


def _each(name: str, family: int, limit: Expression, timeout: int | None) -> Expression:
    """The limit for each source by itself.

    A meter: nft 1.0.6 cannot declare by JSON a set that packets fill, and a meter goes with its rule.
    """
    source: Expression = words.payload(words.HEADER[family], "saddr")
    key = source if timeout is None else {"elem": {"val": source, "timeout": timeout}}
    return {"meter": {"name": name, "key": key, "size": SOURCES, "stmt": limit}}
