# SPDX-License-Identifier: Apache-2.0
"""Table inet neurowall in memory. It outlives engines, as the kernel's does."""

from collections.abc import Callable, Mapping, Sequence

from neurowall.model.counters import Counter
from neurowall.model.errors import RulesetError
from neurowall.model.ruleset import Ruleset


class FakeTables:
    """What was committed last. before is called with the name of each operation, and may raise."""

    def __init__(self) -> None:
        self.held = Ruleset()
        self.operations: list[str] = []
        self.number = 1
        self.before: Callable[[str], None] = lambda _: None

    def _begin(self, operation: str) -> None:
        self.operations.append(operation)
        self.before(operation)

    def check(self, old: Ruleset | None, new: Ruleset) -> None:
        """Refuse a rule of that name, as the kernel refuses what it does not know."""
        self._begin("check")
        if any("refused-by-the-kernel" in name for name in new.counters):
            raise RulesetError("nftables refuses chain refused-by-the-kernel: Not supported")
        assert old is None or old == self.held

    def commit(self, old: Ruleset | None, new: Ruleset) -> None:
        """Replace it, at one moment."""
        self._begin("commit")
        assert old is None or old == self.held, "the difference was made from something else"
        self.held = new
        self.number += 1

    def generation(self) -> int:
        """How many changes there were."""
        return self.number

    def fingerprint(self) -> str:
        """The digest of what is held."""
        return self.held.digest if self.held else ""

    def counters(self) -> Mapping[str, Counter]:
        """One for each named counter."""
        return {name: Counter(len(name), 60) for name in self.held.counters}

    def enforced(self) -> set[str]:
        """The counters of rules that packets can reach."""
        texts = {f'"target":"{chain.name}"': chain.rules for chain in self.held.chains}
        texts |= {f'"@{each.name}"': tuple(each.elements) for each in self.held.sets}
        waiting = [rule for chain in self.held.chains if chain.hook for rule in chain.rules]
        seen: set[str] = set()
        while waiting:
            text = waiting.pop()
            if text not in seen:
                seen.add(text)
                waiting += [rule for name, rules in texts.items() if name in text for rule in rules]
        return {name for name in self.held.counters if any(f'"counter":"{name}"' in text for text in seen)}

    def supports_flowtable(self, devices: Sequence[str]) -> str | None:
        """No."""
        return f"not between {', '.join(devices)}"
