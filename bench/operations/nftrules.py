# SPDX-License-Identifier: Apache-2.0
"""Stateful rules of nftables written by hand, replaced by loading the whole table in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.operations.base import COMMAND_SECONDS, Verb
from bench.rulebook import beginning
from bench.sut import nftrules
from bench.sut.base import Rules, RulesetRejected, SutError, excerpt
from bench.sut.nft import TABLE, NftLinear

if TYPE_CHECKING:
    from bench.rulebook import Rulebook
    from bench.testbed.base import Chain

_NO_LISTS = "nft-linear: has stateful rules only, no list"


class OperatedNftRules:
    """One rule after the other. A change of one is a transaction with all: nobody types handles of rules."""

    def __init__(self) -> None:
        self.system = NftLinear()
        self.name = self.system.name
        self.notes: tuple[str, ...] = ()
        self.socket: Path | None = None
        self.has_command = False
        self._chain: Chain | None = None

    def load(self, chain: Chain, rules: Rules, room: int) -> float:  # noqa: ARG002  (there is no list)
        """`nft -f -` with the first rules."""
        if rules.book is None:
            raise SutError(_NO_LISTS)
        self._chain = chain
        report = self.system.configure(chain, Rules(rules.entries, book=beginning(rules.book)))
        return time.monotonic() - report.load_seconds

    def written(self, book: Rulebook) -> str:
        """The table in place of the one there is. Its counters begin again."""
        ends = self.chain.gateway_in.name, self.chain.gateway_out.name
        return f"table inet {TABLE}\ndelete table inet {TABLE}\n" + nftrules.ruleset(book, TABLE, *ends)

    def send(self, text: str) -> None:
        """`nft -f -`."""
        done = self.chain.gateway.exec(["nft", "-f", "-"], input=text, timeout=COMMAND_SECONDS)
        if done.returncode != 0:
            raise RulesetRejected(f"{self.name}: nft refused its input: {excerpt(done.stderr.strip())}")

    def put(self, book: Rulebook) -> None:
        """Write and send."""
        self.send(self.written(book))

    def command(self, book: Rulebook) -> None:
        """That is a command already."""
        self.put(book)

    @property
    def chain(self) -> Chain:
        """Where it is loaded; SutError before load."""
        if self._chain is None:
            raise SutError(f"{self.name} is not loaded: call load() first")
        return self._chain

    def stage(self, rules: Rules) -> Path:  # noqa: ARG002
        """There is no list."""
        raise SutError(_NO_LISTS)

    def replace(self, staged: Path) -> None:  # noqa: ARG002
        """There is no list."""
        raise SutError(_NO_LISTS)

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:  # noqa: ARG002
        """There is no list."""
        raise SutError(_NO_LISTS)

    def kernel_mib(self) -> str:
        """Not told."""
        return "nftables does not say what rules take"

    def process_mib(self) -> str:
        """None."""
        return "nftables has no process of its own"

    def close(self) -> None:
        """Remove the table."""
        self.system.close()
