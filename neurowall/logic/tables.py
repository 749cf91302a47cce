# SPDX-License-Identifier: Apache-2.0
"""What the engine needs of nftables. neurowall.kernel.nft.Nftables is the real one."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from neurowall.data.tablememo import Made
from neurowall.model.counters import Counter
from neurowall.model.errors import RulesetError
from neurowall.model.ruleset import Ruleset


class Tables(Protocol):
    """Table `inet neurowall`. One thread changes it at a time; every method raises RulesetError."""

    def check(self, old: Ruleset | None, new: Ruleset) -> None:
        """Have the kernel judge the transaction from *old* to *new* without making it."""

    def commit(self, old: Ruleset | None, new: Ruleset) -> None:
        """Replace *old*, which the kernel holds, by *new* in one transaction; counters that stay count on.

        old None: whatever the kernel holds is replaced. A ruleset without chains removes the table.
        """

    def fingerprint(self) -> str:
        """A digest of what the kernel holds, less counts and what packets add; "" without a table."""

    def generation(self) -> int:
        """The number of the last transaction on any table, whoever made it."""

    def counters(self) -> Mapping[str, Counter]:
        """Named counters by name."""

    def supports_flowtable(self, devices: Sequence[str]) -> str | None:
        """Why established connections cannot bypass the stack between these interfaces; None if they can."""


class Memo(Protocol):
    """Where it is noted what was put into the table. neurowall.data.tablememo.TableMemo is the real one."""

    def read(self) -> Made | None:
        """What was noted last."""

    def write(self, made: Made) -> None:
        """Note it."""

    def forget(self) -> None:
        """There is no table any more."""


class NoMemo:
    """Nothing is noted: each start makes the table anew."""

    def read(self) -> Made | None:
        """Nothing."""
        return None

    def write(self, made: Made) -> None:
        """Forget it."""

    def forget(self) -> None:
        """Nothing to forget."""


class NoTables:
    """Where nothing is to be enforced by nftables; everything else it refuses."""

    def check(self, old: Ruleset | None, new: Ruleset) -> None:
        """Refuse a ruleset that holds something."""
        self.commit(old, new)

    def commit(self, _old: Ruleset | None, new: Ruleset) -> None:
        """Refuse a ruleset that holds something."""
        if new:
            raise RulesetError("there is no nftables here", library=True)

    def fingerprint(self) -> str:
        """No table."""
        return ""

    def generation(self) -> int:
        """No transaction."""
        return 0

    def counters(self) -> Mapping[str, Counter]:
        """No counters."""
        return {}

    def supports_flowtable(self, _devices: Sequence[str]) -> str | None:
        """No flowtable."""
        return "there is no nftables here"
