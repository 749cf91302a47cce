# SPDX-License-Identifier: Apache-2.0
"""Table `inet neurowall` in the kernel, through libnftables: neurowall.logic.tables.Tables.

libnftables comes with the distribution, as does its Python module: both are asked for when they are first
used, so that a policy without rules needs neither. Acts on the network namespace of the thread that first
used the object.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurowall.kernel import nftcounters
from neurowall.kernel.nftgeneration import generation
from neurowall.kernel.nftjson import (
    Command,
    Held,
    changes,
    deletion,
    document,
    flowtable,
    must_rebuild,
    replacement,
)
from neurowall.kernel.nftlisting import digest_of, held_in, is_torn
from neurowall.kernel.nftrefusal import described, reason_in
from neurowall.model.counters import Counter
from neurowall.model.errors import RulesetError
from neurowall.model.ruleset import FAMILY, TABLE, Ruleset

_ATTEMPTS = 5
_REREADINGS = 20
_REHASH_SECONDS = 0.02
_MISSING = "No such file or directory"
_TABLE_LISTING: Command = {"list": {"table": {"family": FAMILY, "name": TABLE}}}


def load_library() -> Any:
    """A new context of libnftables. RulesetError(library=True) where the machine has none."""
    try:
        from nftables import Nftables as Context

        return Context()
    except (ImportError, OSError, AttributeError) as error:
        raise RulesetError(
            f"nftables cannot be used: {error}; install the package python3-nftables (and libnftables1), "
            "and run neurowall with the distribution's Python: only that one sees the module",
            library=True,
        ) from error


class Nftables:
    """The table as the kernel holds it. Any thread may call; one call at a time is made.

    Nothing outside the table is ever named in a command. Every method raises RulesetError.
    """

    def __init__(
        self,
        library: Callable[[], Any] = load_library,
        link: Callable[[], nftcounters.Link] = nftcounters.Link,
    ) -> None:
        self._load, self._open = library, link
        self._link: nftcounters.Link | None = None
        self._counting = threading.Lock()
        self._context: Any = None
        self._lock = threading.RLock()

    def check(self, old: Ruleset | None, new: Ruleset) -> None:
        """Have the kernel judge the transaction from *old* to *new* without making it."""
        self._change(old, new, dry_run=True)

    def commit(self, old: Ruleset | None, new: Ruleset) -> None:
        """Replace *old*, which the kernel holds, by *new* in one transaction; counters that stay count on.

        What no rule leads to any more is taken away in a second one, see neurowall.kernel.nftjson.Steps.
        old None: whatever the kernel holds is replaced; still in place, if only our own kinds of things are
        there. A ruleset without chains removes the table.
        """
        self._change(old, new, dry_run=False)

    def fingerprint(self) -> str:
        """A digest of what the kernel holds, less counts and what packets add; "" without a table."""
        with self._lock:
            listing = self._listing()
        return "" if listing is None else digest_of(listing)

    def generation(self) -> int:
        """The number of the last transaction on any table, whoever made it."""
        return generation()

    def counters(self) -> Mapping[str, Counter]:
        """Named counters by name; none without a table. Waits for no change."""
        with self._counting:
            try:
                self._link = self._link or self._open()
                return self._link.counters()
            except OSError as error:
                if self._link is not None:
                    self._link.close()
                self._link = None
                raise RulesetError(f"nftables does not tell its counters: {error}") from error

    def delete_table(self) -> None:
        """Remove the table and all that it holds; none is no error."""
        with self._lock:
            self._run(deletion())

    def supports_flowtable(self, devices: Sequence[str]) -> str | None:
        """Why forwarding cannot be offloaded between these interfaces; None if it can."""
        chain = {"family": FAMILY, "table": TABLE, "name": "flowtable-probe"}
        rule = {
            "family": FAMILY,
            "table": TABLE,
            "chain": "flowtable-probe",
            "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}},
                {"flow": {"op": "add", "flowtable": "@flowtable-probe"}},
            ],
        }
        # On a table that is new in the transaction, since ours may have a flowtable on these devices.
        probe = [
            *deletion(),
            {"add": {"table": {"family": FAMILY, "name": TABLE}}},
            {"add": {"flowtable": {**flowtable(devices), "name": "flowtable-probe"}}},
            {"add": {"chain": chain}},
            {"add": {"rule": rule}},
        ]
        with self._lock:
            code, _, errors = self._send(probe, dry_run=True)
        if code == 0:
            return None
        why = reason_in(errors)
        if why == _MISSING:
            return "the kernel has no nf_flow_table (module nf_flow_table_inet), or an interface is missing"
        return why

    def _change(self, old: Ruleset | None, new: Ruleset, *, dry_run: bool) -> None:
        with self._lock:
            if old is None:
                self._replace(new, dry_run=dry_run)
                return
            steps = changes(old, new, self.counters() if must_rebuild(old, new) else {})
            self._run(steps.change, dry_run=dry_run)
            if dry_run or not steps.sweep:
                return
            try:
                self._run(steps.sweep)
            except RulesetError:  # another tool was faster; what is enforced is new already
                self._replace(new, dry_run=False)

    def _replace(self, new: Ruleset, *, dry_run: bool) -> None:
        held = self._held()
        for left in reversed(range(_ATTEMPTS)):
            counts = self.counters() if held.exists else {}
            try:
                steps = replacement(held, new, counts)
                self._run(steps.change, dry_run=dry_run)
                self._run([] if dry_run else steps.sweep)
                return
            except RulesetError:
                # Another tool may have changed the table between the listing and the transaction.
                before, held = held, self._held()
                if not left or held == before:
                    raise

    def _held(self) -> Held:
        listing = self._listing()
        return Held() if listing is None else held_in(listing)

    def _listing(self) -> list[Command] | None:
        """The table as libnftables lists it, None without one; read again while it is torn."""
        listing = self._ask(_TABLE_LISTING)
        for _ in range(_REREADINGS):
            if listing is None or not is_torn(listing):
                break
            self._context = None  # its cache would give the same answer again
            time.sleep(_REHASH_SECONDS)
            listing = self._ask(_TABLE_LISTING)
        return listing

    def _ask(self, command: Command) -> list[Command] | None:
        code, output, errors = self._send([command], dry_run=False)
        if code == 0:
            return list(json.loads(output)["nftables"]) if output else []
        if reason_in(errors) == _MISSING:
            return None
        raise RulesetError(f"nftables does not list table {FAMILY} {TABLE}: {reason_in(errors)}")

    def _run(self, commands: Sequence[Command], *, dry_run: bool = False) -> None:
        if not commands:
            return
        code, _, errors = self._send(commands, dry_run=dry_run)
        if code:
            self._refused(commands, reason_in(errors))

    def _refused(self, commands: Sequence[Command], reason: str) -> None:
        """Raise RulesetError that names the command to blame.

        libnftables says where in a file an error is, but not in JSON: so it is searched, by trying beginnings
        of the transaction without making them.
        """
        good, bad = 0, len(commands)
        while bad - good > 1:
            middle = (good + bad) // 2
            code, _, errors = self._send(commands[:middle], dry_run=True)
            if code:
                bad, reason = middle, reason_in(errors)
            else:
                good = middle
        blamed = described(commands, bad - 1)
        raise RulesetError(f"nftables refuses {blamed}: {reason}; table {FAMILY} {TABLE} is as it was before")

    def _send(self, commands: Sequence[Command], *, dry_run: bool) -> tuple[int, str, str]:
        context = self._ready()
        context.set_dry_run(dry_run)
        try:
            code, output, errors = context.cmd(document(commands))
        except Exception as error:
            self._context = None
            raise RulesetError(f"libnftables failed: {error}", library=True) from error
        if dry_run:
            self._context = None  # its cache holds now what was only pretended
        return int(code), str(output or ""), str(errors or "")

    def _ready(self) -> Any:
        if self._context is None:
            context = self._load()
            context.set_json_output(True)
            context.set_numeric_proto_output(True)  # names depend on /etc/protocols
            self._context = context
            with self._counting:  # both stay in the namespace that this thread is in
                self._link = self._link or self._open()
        return self._context
