# SPDX-License-Identifier: Apache-2.0
"""Stateful rules as they are written by hand for nftables: one line a rule, asked one after the other.

Established connections are accepted first, so that only new ones walk the chain; sources and ports of a rule
are anonymous sets. Each rule has a named counter of its own, as Neurowall's have.
"""

from collections.abc import Mapping

from bench.rulebook import Rule, Rulebook

PREFIX = "rule-"
DEFAULT = "default-forward"
INVALID = "state-invalid"


def ruleset(book: Rulebook, table: str, device_in: str, device_out: str) -> str:
    """The whole table; nothing without rules."""
    if not book.rules:
        return ""
    names = [*(PREFIX + rule.name for rule in book.rules), DEFAULT, INVALID]
    counters = "".join(f"\tcounter {name} {{\n\t}}\n" for name in names)
    rules = "".join(f"\t\t{_line(rule)}\n" for rule in book.rules)
    return (
        f"table inet {table} {{\n{counters}"
        f"\tchain inwards {{\n{rules}\t}}\n"
        "\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n"
        f"\t\tct state established,related accept\n\t\tct state invalid counter name {INVALID} drop\n"
        f'\t\tiifname "{device_in}" oifname "{device_out}" jump inwards\n'
        f"\t\tcounter name {DEFAULT} drop\n\t}}\n}}\n"
    )


def by_rule(counters: Mapping[str, int]) -> dict[str, int]:
    """Packets by rule and, under `default`, those that no rule matched, of a table's named counters.

    Whether a table writes '-' or '_' in names makes no difference.
    """
    found = {}
    for name, packets in counters.items():
        plain = name.replace("_", "-")
        if plain.startswith(PREFIX):
            found[plain.removeprefix(PREFIX)] = packets
        elif plain == DEFAULT:
            found["default"] = packets
    return found


def dropped(book: Rulebook, counters: Mapping[str, int]) -> int:
    """Packets that a table dropped: by rules, by default, and invalid ones."""
    packets = by_rule(counters)
    rules = sum(packets.get(rule.name, 0) for rule in book.rules if rule.action == "drop")
    invalid = sum(n for name, n in counters.items() if name.replace("_", "-") == INVALID)
    return rules + packets.get("default", 0) + invalid


def _line(rule: Rule) -> str:
    """One rule in nft's own words."""
    words = []
    for side, addresses in (("saddr", rule.sources), ("daddr", rule.destinations)):
        if addresses:
            words.append(f"{'ip6' if ':' in addresses[0] else 'ip'} {side} {_one_of(addresses)}")
    if rule.ports:
        texts = [str(low) if low == high else f"{low}-{high}" for low, high in rule.ports]
        words.append(f"{rule.protocol} dport {_one_of(texts)}")
    elif rule.icmp_types:
        words.append(f"icmp type {_one_of(rule.icmp_types)}")
    elif rule.protocol:
        words.append(f"meta l4proto {rule.protocol}")
    return " ".join([*words, f"counter name {PREFIX}{rule.name}", rule.action])


def _one_of(values: tuple[str, ...] | list[str]) -> str:
    return values[0] if len(values) == 1 else "{ " + ", ".join(values) + " }"
