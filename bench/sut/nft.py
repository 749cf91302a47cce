# SPDX-License-Identifier: Apache-2.0
"""nftables at its best: at netdev ingress, before the stack and without conntrack.

nft-set: a hash set for hosts and an interval set for prefixes, both named, as its manual shows for block
lists. The hash set states its size: only then the kernel takes the fixed-size hash, its fastest. nft-linear:
one rule an entry, the way not to do it, and labelled so. Of stateful rules nft-linear is what is written by
hand (see bench/sut/nftrules.py); nft-set has none.
"""

import time
from typing import TYPE_CHECKING, Any

from bench.sut import nftcounter, nftrules
from bench.sut.base import ConfigureReport, Gate, Rules, RulesetRejected, SutError, SystemCounters, excerpt
from bench.sut.tools import missing_tool, version

if TYPE_CHECKING:
    from bench.rulebook import Rulebook
    from bench.testbed.base import Chain

TABLE = "neurowall_bench"
LINEAR_LIMIT = 10_000
_LOAD_SECONDS = 120.0
_PRIORITY = -500
_MATCH = {4: "ip saddr", 6: "ip6 saddr"}
_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}


class NftSystem:
    """What both forms share: one table, loaded in one transaction, one named counter for all drops."""

    name: str
    gate: Gate = "filter"

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._text = ""
        self._sizes: dict[str, int] = {}
        self._book: Rulebook | None = None

    def available(self, rules: Rules | None = None) -> str | None:  # noqa: ARG002
        """The nft program."""
        return missing_tool("nft", "nftables")

    def ruleset(self, rules: Rules, device: str) -> str:
        """The whole table as nft reads it."""
        raise NotImplementedError

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:
        """Load the table through stdin. RulesetRejected with what nft said."""
        if why := self.available(rules):
            raise RulesetRejected(f"{self.name}: {why}")
        self._sizes, self._book = rules.counts, rules.book
        if rules.book is not None:
            self._sizes = {"rules": len(rules.book.rules)}
            self._text = nftrules.ruleset(rules.book, TABLE, chain.gateway_in.name, chain.gateway_out.name)
            self.gate = "filter" if rules.book.rules else "pass"
        else:
            self._text = self.ruleset(rules, chain.gateway_in.name)
        start = time.monotonic()
        done = chain.gateway.exec(["nft", "-f", "-"], input=self._text, timeout=_LOAD_SECONDS)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            raise RulesetRejected(f"{self.name}: nft refused the ruleset: {excerpt(done.stderr.strip())}")
        self._chain = chain
        return ConfigureReport(seconds)

    def counters(self) -> SystemCounters:
        """The named counter of the table, or all those of its rules that drop."""
        if self._chain is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        if self._book is not None:
            count = nftrules.dropped(self._book, self._named_counters())
            return SystemCounters(count, None, f"nftables counters of table inet {TABLE}")
        with self._chain.gateway.enter():
            dropped = nftcounter.packets(TABLE, "dropped")
        return SystemCounters(dropped, None, f"nftables counter 'dropped' of table netdev {TABLE}")

    def rule_packets(self) -> dict[str, int]:
        """The named counters of stateful rules."""
        return nftrules.by_rule(self._named_counters())

    def _named_counters(self) -> dict[str, int]:
        if self._chain is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        with self._chain.gateway.enter():
            return nftcounter.all_packets(TABLE)

    def memory_mib(self) -> None:
        """Nothing tells: nftables says nothing, and a change of the machine's slab is not its alone."""

    def describe(self) -> dict[str, Any]:
        """Version, sizes and an excerpt of the ruleset."""
        return {
            "version": version(["nft", "--version"]),
            "sizes": self._sizes,
            "ruleset": excerpt(self._text),
        }

    def close(self) -> None:
        """Delete the table, if the chain still exists."""
        if self._chain is not None:
            chain, self._chain = self._chain, None
            family = "netdev" if self._book is None else "inet"
            chain.gateway.exec(["nft", "delete", "table", family, TABLE], timeout=_LOAD_SECONDS)

    def _table(self, sets: str, rules: str, device: str) -> str:
        hook = f'type filter hook ingress device "{device}" priority {_PRIORITY}; policy accept;'
        return (
            f"table netdev {TABLE} {{\n\tcounter dropped {{\n\t}}\n{sets}"
            f"\tchain ingress {{\n\t\t{hook}\n{rules}\t}}\n}}\n"
        )


class NftSet(NftSystem):
    """A hash set for hosts and an interval set for prefixes; sets without entries are left out."""

    name = "nft-set"

    def available(self, rules: Rules | None = None) -> str | None:
        """The nft program, and no stateful rules."""
        if rules is not None and rules.book is not None:
            return "has no form of its own for stateful rules"
        return super().available(rules)

    def ruleset(self, rules: Rules, device: str) -> str:
        """Hosts before prefixes, IPv4 before IPv6."""
        sets, lines = [], []
        for kind, entries in rules.texts.items():
            if entries:
                family = int(kind[-1])
                sets.append(_set(kind, family, entries))
                lines.append(f"\t\t{_MATCH[family]} @{kind} counter name dropped drop\n")
        return self._table("".join(sets), "".join(lines), device)


class NftLinear(NftSystem):
    """One rule an entry: what a script writes that knows no sets. Only up to 10,000 entries."""

    name = "nft-linear"

    def available(self, rules: Rules | None = None) -> str | None:
        """The nft program, and not too many entries."""
        if rules is not None and len(rules.entries) > LINEAR_LIMIT:
            return f"one rule an entry: measured up to {LINEAR_LIMIT} entries, not {len(rules.entries)}"
        return super().available(rules)

    def ruleset(self, rules: Rules, device: str) -> str:
        """One rule after the other."""
        lines = [
            f"\t\t{_MATCH[int(kind[-1])]} {entry} counter name dropped drop\n"
            for kind, entries in rules.texts.items()
            for entry in entries
        ]
        return self._table("", "".join(lines), device)


def _set(name: str, family: int, entries: list[str]) -> str:
    """A named set with its elements. auto-merge: overlapping prefixes are an error without it."""
    hosts = name.startswith("hosts")
    options = f"size {len(entries)}" if hosts else "flags interval\n\t\tauto-merge"
    elements = "\t\telements = { " + ",\n".join(entries) + " }"
    return f"\tset {name} {{\n\t\ttype {_TYPE[family]}\n\t\t{options}\n{elements}\n\t}}\n"
