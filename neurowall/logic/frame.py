# SPDX-License-Identifier: Apache-2.0
"""What stands around the lists: guards of interfaces, the nftables table, forwarding.

A change of all of it together with the lists goes: tighten the guards (`guards.between`), lists to the
stricter of both (`stricter`), switch the table in one transaction, lists to the new ones, relax the guards.
A packet passes a guard and the lists of the moment only if it passes those of both policies, or only one
policy has the say: so its verdict is the old policy's or the new one's.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from neurowall.data.tablememo import Made
from neurowall.logic.around import Around
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.guards import between
from neurowall.logic.stateful.addressed import addressed, together
from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.logic.stateful.fallback import Fallback, fallback, packets_by_reason
from neurowall.model.counters import Counter
from neurowall.model.errors import KernelError, NeurowallError, RulesetError
from neurowall.model.guards import Guards, guards_of
from neurowall.model.intent import HeldList
from neurowall.model.policy import Policy
from neurowall.model.reasons import Reason
from neurowall.model.ruleset import Hook, Ruleset

log = logging.getLogger(__name__)

Lists = tuple[HeldList, ...]


@dataclass(frozen=True)
class Seen:
    """The table as it was read, and the number of the last transaction by then; 0 if one came between."""

    fingerprint: str
    generation: int
    suspected: bool


@dataclass(frozen=True)
class Framed:
    """What is to be around the lists by one policy. names: the interfaces whose lists nftables holds."""

    policy: Policy
    guards: Guards
    ruleset: Ruleset
    names: frozenset[str]


class Frame:
    """Owner of guards, table and forwarding. One change at a time is its callers' care.

    now: what is in force; None while the kernel may hold something else: before the start and after a failure
    that could not be reverted. repairs: how often somebody else's change of the table was taken back.
    suspected: another program changed some table since the last look. unforwarded: why forwarding is not as
    the policy says, None if it is.
    """

    def __init__(self, dataplane: DataPlane, around: Around) -> None:
        self._dataplane = dataplane
        self._tables = around.tables
        self._reader = around.reader or around.tables
        self._forwarding = around.forwarding
        self._memo = around.memo
        self._base: tuple[Policy, Ruleset] | None = None
        # Of the table as we left it (None: not read yet), and the number of the transaction that made it.
        self._fingerprint: str | None = None
        self._generation = 0
        self._held: Ruleset | None = None  # what the kernel holds, None if nobody knows
        self.suspected = False
        self.now: Framed | None = None
        self.last: Framed | None = None
        self.repairs = 0
        self.unforwarded: str | None = None

    def framed(self, policy: Policy, lists: Lists, clock: float) -> Framed:
        """What *policy* asks for with these lists. Raises CapacityError if nftables sets cannot hold them."""
        names = self._dataplane.fallback()
        if self.now and self.now.policy is policy and not names and not self.now.names:
            return self.now
        guards = guards_of(policy)
        if self.last is None and (noted := self._memo.read()):
            # An earlier daemon's table guards these, and goes on until it is known what takes a program.
            names |= {guard.name for guard in guards.interfaces}.intersection(noted.names)
        # Those that are to have no program need their sets before they lose it.
        names |= {guard.name for guard in guards.interfaces if guard.mode == "off"}
        ruleset = self._base_of(policy)
        if names:
            made = fallback(guards, names, lists, policy.fallback.max_entries, clock)
            # Hosts come and go one by one. An interval set that loses many is made anew, and then empty at
            # first.
            part = addressed(made.into(Ruleset()), [each.name for each in made.sets if not each.interval])
            ruleset = Fallback(part.counters, part.sets, part.chains).into(ruleset)
        return Framed(policy, guards, ruleset, names)

    @property
    def is_settled(self) -> bool:
        """Whether the table holds the lists for those interfaces that need it, and no other."""
        return self.now is not None and self.now.names == self._dataplane.fallback()

    def check(self, target: Framed) -> int:
        """Have the kernel judge the table; how many of its objects change. Raises RulesetError."""
        if self._held == target.ruleset or not (self._held or target.ruleset):
            return 0
        self._tables.check(self._held, target.ruleset)
        return _differing(self._held or Ruleset(), target.ruleset)

    def prepare(self, target: Framed) -> int:
        """As check; what the table needs may be in the kernel afterwards, where no packet meets it."""
        held, wanted = self._held, target.ruleset
        if self._was_touched():
            self._tables.check(None, wanted)  # made anew then
            return _differing(held or Ruleset(), wanted)
        if not held or not wanted or _hooks(held) != _hooks(wanted):
            return self.check(target)
        self._build(wanted)
        return _differing(held, wanted)

    def _build(self, wanted: Ruleset) -> None:
        """Put beside the table in force what it lacks for another one."""
        if not self._held or not wanted:
            return
        both = together(self._held, wanted)
        if both != self._held:
            self._memo.write(Made("", "", tuple(sorted(self.last.names)) if self.last else ()))
            self._tables.commit(self._held, both)
            self._held, self._fingerprint = both, None
            self._generation = self._tables.generation()

    def packets_by_reason(self) -> Mapping[Reason, Counter]:
        """What nftables counted in place of XDP. Raises RulesetError."""
        return packets_by_reason(self._tables.counters()) if self.last and self.last.names else {}

    def counters(self) -> Mapping[str, Counter]:
        """The table's named counters. Raises RulesetError."""
        return self._tables.counters() if self.last and self.last.ruleset else {}

    def move(self, target: Framed) -> "Move":
        """The steps from what is in force to *target*."""
        return Move(self, self.now, target)

    @property
    def must_look(self) -> bool:
        """Whether the table must be read: another program changed it, or it was not read since we did."""
        return self.now is not None and (self.suspected or self._fingerprint is None)

    def look(self) -> Seen:
        """Read the table; takes long, and may be done while somebody changes it. Raises RulesetError."""
        suspected, self.suspected = self.suspected, False
        before = self._reader.generation()
        found = self._reader.fingerprint()
        return Seen(found, before if self._reader.generation() == before else 0, suspected)

    def has_drifted(self, seen: Seen) -> bool:
        """Whether that is another table than we put there."""
        if self.now is None:
            return False
        if self._fingerprint is not None:
            return self._fingerprint != seen.fingerprint
        if seen.suspected:
            # Before we knew what it looks like; or we changed it ourselves, and it could not be told apart.
            return self._tables.generation() != self._generation
        if seen.generation != self._generation:
            # Another table was changed, or ours and the event is still to come: the next look will tell.
            # (Or we changed ours meanwhile: then that was read too early.)
            self._generation = max(seen.generation, self._generation)
            return False
        self._fingerprint = seen.fingerprint
        noted = self._memo.read()
        if noted:
            self._memo.write(replace(noted, fingerprint=seen.fingerprint))
        return False

    def repair(self, target: Framed, seen: Seen | None = None) -> None:
        """Put the table back; counted if that made a difference to what was *seen*. Raises RulesetError."""
        self.commit(target, anew=True)
        self.now = self.last = target
        self._fingerprint = self._tables.fingerprint()
        if seen is None or seen.fingerprint != self._fingerprint:
            log.warning("table inet neurowall was changed by another program: it is put back")
            self.repairs += 1

    def unprepare(self) -> None:
        """Take away what was prepared for a change that is not made."""
        if self.now is None or self._held in (None, self.now.ruleset):
            return
        with reported(NeurowallError, "what was prepared in nftables stays until the next change"):
            self.commit(self.now)

    def _base_of(self, policy: Policy) -> Ruleset:
        """The table without lists; kept, since a ban must not compile it again."""
        if self._base is None or self._base[0] is not policy:
            made = compile_ruleset(policy, flowtable=self._takes_flowtable(policy))
            self._base = policy, addressed(made)
        return self._base[1]

    def _takes_flowtable(self, policy: Policy) -> bool:
        if not policy.flowtable:
            return False
        names = [interface.name for interface in policy.interfaces]
        why = self._tables.supports_flowtable(names)
        if why:
            log.warning("flowtable: established connections take the whole stack: %s", why)
        return why is None

    # -- for Move

    def configure(self, guards: Guards) -> None:
        """Guard the interfaces so."""
        self._dataplane.configure(guards)

    def unguarded(self) -> dict[str, str]:
        """Interfaces that are there and not guarded, and why."""
        states = self._dataplane.interfaces()
        return {state.name: state.problem for state in states if state.problem and state.ifindex is not None}

    def commit(self, target: Framed, *, anew: bool = False) -> None:
        """Replace the table. anew: whatever the kernel holds. Raises RulesetError.

        What it then looks like, to tell later whether another program changed it, is read when somebody
        looks: that takes longer than the change.
        """
        anew = anew or self._was_touched()
        old, new, noted = None if anew else self._held, target.ruleset, self._memo.read()
        if not new and not old and noted is None:
            self._held, self._fingerprint = new, ""
            return
        if new and noted is None and not self._held and self._tables.fingerprint():
            raise RulesetError(
                "table inet neurowall is there, and this instance did not make it: one instance may filter "
                "in a network namespace; end the other with `neurowall down`, or delete the table with nft"
            )
        digest = new.digest
        if self._held is None and noted and noted.ruleset == digest and noted.fingerprint:
            self._fingerprint = self._tables.fingerprint()
            if self._fingerprint == noted.fingerprint:
                self._held = new
                return  # as an earlier daemon left it: connections that it counts go on being counted
        if not anew:
            self._build(new)
            old = self._held
        self._memo.write(Made(digest, "", tuple(sorted(target.names))))
        self._held = None
        if old and new:
            # A packet on its way through the old rules needs them to its end: they go a grace period later.
            beside = together(new, old)
            self._tables.commit(old, beside)
            self._dataplane.grace()
            old = beside
        self._tables.commit(old, new)
        self._held, self._fingerprint, self._generation = new, None, self._tables.generation()
        if not new:
            self._fingerprint = ""
            self._memo.forget()

    def _was_touched(self) -> bool:
        """Whether another program may have changed the table since our last look: it must not stay unseen."""
        if not self._held or self._tables.generation() == self._generation:
            return False
        return self._fingerprint is None or self._tables.fingerprint() != self._fingerprint

    def forward(self, policy: Policy) -> None:
        """Set forwarding as the policy says. Raises KernelError, which stays the problem until it works."""
        try:
            self._forwarding(policy)
        except KernelError as error:
            self.unforwarded = f"packets are not forwarded as the policy says: {error}"
            raise
        self.unforwarded = None


@contextmanager
def reported(error: type[Exception], what: str) -> Iterator[None]:
    """Log it instead of raising it."""
    try:
        yield
    except error as found:
        log.warning("%s: %s", what, found)


class Move:
    """One change of the frame: `tighten`, `switch`, `relax`, with the lists' own steps between."""

    def __init__(self, frame: Frame, before: Framed | None, after: Framed) -> None:
        self._frame = frame
        self._before = before
        self._after = after
        self._problems: dict[str, str] = {}

    @property
    def policy(self) -> Policy:
        """The policy that is in force afterwards."""
        return self._after.policy

    @property
    def switches(self) -> bool:
        """Whether the table changes."""
        return self._before is None or self._before.ruleset != self._after.ruleset

    @property
    def _guards_differ(self) -> bool:
        return self._before is None or self._before.guards != self._after.guards

    def tighten(self) -> None:
        """Let only those packets pass that both policies let pass."""
        self._frame.now = None
        if self._before and self._guards_differ:
            self._problems = self._frame.unguarded()
            self._frame.configure(between(self._before.guards, self._after.guards))

    def switch(self) -> None:
        """Put the new table in force."""
        if self.switches:
            self._frame.commit(self._after, anew=self._before is None)

    def relax(self) -> None:
        """Let everything pass that the new policy lets pass. Raises KernelError for one that is unguarded."""
        if self._guards_differ:
            self._frame.configure(self._after.guards)
            fresh = {name: why for name, why in self._frame.unguarded().items() if name not in self._problems}
            if self._before and fresh:
                raise KernelError("; ".join(f"{name}: {why}" for name, why in fresh.items()))
        if self._before is None:
            # At a start and on the way back: rather that than no table.
            with reported(KernelError, "forwarding"):
                self._frame.forward(self._after.policy)
        elif self._before.policy is not self._after.policy:
            self._frame.forward(self._after.policy)
        self._frame.now = self._frame.last = self._after

    def reversed(self) -> "Move":
        """The way back, from wherever this one was given up."""
        whole = self._before or self._frame.last
        return _Back(self._frame, whole, self._after) if whole else _Stay(self._frame, None, self._after)


class _Back(Move):
    """From a change that was given up somewhere to what was in force."""

    def __init__(self, frame: Frame, whole: Framed, left: Framed) -> None:
        super().__init__(frame, None, whole)
        self._left = left

    def tighten(self) -> None:
        """Let only those packets pass that both policies let pass."""
        self._frame.now = None
        if self._left.guards != self._after.guards:
            self._frame.configure(between(self._left.guards, self._after.guards))


class _Stay(Move):
    """No way back: nobody knows what was there before."""

    def tighten(self) -> None:
        pass

    def switch(self) -> None:
        pass

    def relax(self) -> None:
        pass


def _differing(old: Ruleset, new: Ruleset) -> int:
    """How many chains, sets and counters come, go or change."""
    named = {part.name for part in {*old.chains} ^ {*new.chains}}
    named |= {part.name for part in {*old.sets} ^ {*new.sets}}
    return len(named | ({*old.counters} ^ {*new.counters}))


def _hooks(ruleset: Ruleset) -> tuple[frozenset[tuple[str, Hook]], tuple[str, ...]]:
    """What cannot be tried beside the table in force."""
    return frozenset((chain.name, chain.hook) for chain in ruleset.chains if chain.hook), ruleset.flowtable
