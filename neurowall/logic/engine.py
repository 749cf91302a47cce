# SPDX-License-Identifier: Apache-2.0
"""The engine: what the daemon can be asked and told.

A change: compile, check capacities, save the intent (synced to disk), kernel steps with grace periods, read
back, generation + 1. If the kernel half fails, kernel and saved intent are reverted. One change at a time;
answers come from the last complete change and never wait for one under way.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from neurowall.data.generations import GenerationStore
from neurowall.data.sources import read_source
from neurowall.data.state import StateStore
from neurowall.logic.around import Around
from neurowall.logic.banlist import BanQuery, bans_page
from neurowall.logic.commit import Committer
from neurowall.logic.compile import compile_lists
from neurowall.logic.dataplane import DataPlane
from neurowall.logic.declared import Declared, declare
from neurowall.logic.dryrun import with_kernel
from neurowall.logic.evaluate import evaluate
from neurowall.logic.events import EventHub, ahead_of_monotonic
from neurowall.logic.explain import explain, listed_in
from neurowall.logic.frame import Frame
from neurowall.logic.limits import lifted, limit_infos
from neurowall.logic.listrequests import ListRequests
from neurowall.logic.lockout import Session, locked_out
from neurowall.logic.packetframe import frame_of
from neurowall.logic.packettext import read_packet
from neurowall.logic.packetverdict import Verdict, listed_of
from neurowall.logic.planning import Compiler
from neurowall.logic.policies import Check, Policies
from neurowall.logic.policyresults import GenerationInfo, PolicyChange, PolicyInForce
from neurowall.logic.resolve import Load, Parse, Read, Resolved, Sources, resolve
from neurowall.logic.results import (
    BanPage,
    Counters,
    Explanation,
    LimitInfo,
    Result,
    StatefulStatus,
    Status,
)
from neurowall.logic.snapshot import usage_of
from neurowall.logic.top import TopSources
from neurowall.model import counters
from neurowall.model.address import InvalidEntry, parse_address
from neurowall.model.errors import (
    CapacityError,
    KernelError,
    ListInvalid,
    LockOut,
    RulesetError,
)
from neurowall.model.events import EventKind, Names, Tally, Told
from neurowall.model.flows import Flow, FlowCounts, FlowQuery
from neurowall.model.guards import guards_of
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.limits import LimitBan
from neurowall.model.listfile import parse_list
from neurowall.model.policy import Policy
from neurowall.model.reasons import Reason

log = logging.getLogger(__name__)


class Engine(ListRequests):
    """Policies, what ListRequests changes, and questions about all of it. Any thread may call.

    on_change is called after each change of the policy, when the answer is ready. events: where to have them.
    top: whom they are about most.
    """

    def __init__(  # noqa: PLR0913 - what tests replace, by name
        self,
        policy: Policy | Declared,
        dataplane: DataPlane,
        store: StateStore,
        read: Read = read_source,
        *,
        parser: Parse = parse_list,
        compiler: Compiler = compile_lists,
        clock: Callable[[], float] = time.time,
        around: Around | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._store = store
        self._read = read
        self._around = around = around or Around()
        self._unsettled: str | None = None  # why an interface without XDP has no lists
        self.on_change: Callable[[], None] = lambda: None
        self.events, self.top = EventHub(), TopSources()
        self.on_events: Callable[[Sequence[Told]], None] = lambda _told: None  # must not wait
        declared = policy if isinstance(policy, Declared) else Declared(policy)
        generations = GenerationStore(store.directory)
        self._frame = Frame(dataplane, around)
        committer = Committer(
            dataplane,
            store,
            declared.policy,
            self._frame,
            compiler=compiler,
            clock=clock,
            history=generations.digests,
        )
        super().__init__(committer, parser, clock)
        self._policies = Policies(
            declared, committer, generations, self._resolve, self._load, clock, around.config
        )

    # -- life
    # ---------------------------------------------------------------------------------------------------

    def start(self) -> Result:
        """Bring the kernel to what policy and saved state intend. Raises NeurowallError."""
        with self._lock:
            self._store.acquire()
            saved = self._store.load()
            fresh = self._policies.start(saved.policy)
            declared = fresh or self._policies.declared
            resolved = self._policies.resolved(declared, saved.lists, self._load)
            put = self._policies.put(fresh) if fresh else None
            snapshot = self._committer.start(resolved.lists, saved, declared.policy, put)
            self._settle()
            self._policies.took_over(declared, resolved)
            self._warn()
            return Result(snapshot.generation, warnings=resolved.warnings)

    def reload_policy(self, policy: Policy | Declared) -> Result:
        """Put the daemon's own policy file in force. Raises PolicyError if the engine is another one."""
        declared = policy if isinstance(policy, Declared) else Declared(policy, source="reload")
        with self._lock:
            change = self._policies.apply(declared, _anybody)
            self._warn()
            return Result(change.generation, change.added, change.removed, warnings=change.warnings)

    def unblock(self, addresses: Sequence[str], *, dry_run: bool = False) -> Result:
        """Remove from the built-in block lists, and end bans by limits. Raises as block."""
        return lifted(super().unblock(addresses, dry_run=dry_run), self._dataplane.limiter)

    # -- policies
    # -----------------------------------------------------------------------------------------------

    def apply_policy(
        self,
        text: str,
        filename: str,
        *,
        confirm: float | None = None,
        force: bool = False,
        session: Session | None = None,
        note: str = "",
        confined: bool = False,
    ) -> PolicyChange:
        """Put a policy in force, all of it or nothing.

        confirm: seconds after which it is taken back unless confirmed. session: the caller's own, which the
        policy must not cut unless *force*. confined: list files only below the folder of the daemon's own
        policy file, and no error shows their lines. Raises PolicyError, ListError, CapacityError,
        RulesetError, LockOut, PendingError, StateError, ApplyError.
        """
        declared = replace(declare(text, filename, "apply", note), confined=confined)
        with self._lock:
            check = self._guard(session, force=force)
            change = self._policies.apply(declared, check, confirm=confirm)
            self._settle()
        self.on_change()
        return change

    def plan_policy(
        self, text: str, filename: str, session: Session | None = None, *, confined: bool = False
    ) -> PolicyChange:
        """What apply_policy would do. Raises as that does; nothing is changed."""
        declared = replace(declare(text, filename, "apply"), confined=confined)
        with self._lock:
            return self._policies.apply(declared, self._guard(session), dry_run=True)

    def confirm_policy(self, *, dry_run: bool = False) -> PolicyInForce:
        """Keep the policy that waits to be confirmed. Raises PendingError, StateError.

        dry_run: answer as if it was, and let it wait on.
        """
        with self._lock:
            self._policies.confirm(dry_run=dry_run)
            return replace(self._policies.now(), pending=None)

    def rollback_policy(
        self,
        generation: int | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
        session: Session | None = None,
        confined: bool = False,
    ) -> PolicyChange:
        """Put an earlier policy in force; None: the one before. confined, raises: as apply_policy."""
        with self._lock:
            check = self._guard(session, force=force)
            change = self._policies.rollback(generation, check, dry_run=dry_run, confined=confined)
            self._settle()
        self.on_change()
        return change

    def take_back_unconfirmed(self) -> bool:
        """Go back if a policy was not confirmed in time. Raises as apply_policy."""
        with self._lock:
            return self._policies.take_back_unconfirmed()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policies.policy

    def policy_now(self) -> PolicyInForce:
        """The policy in force. Raises StateError."""
        return self._policies.now()

    def kept_generations(self) -> tuple[int, ...]:
        """The numbers of policies that were in force and are kept, oldest first."""
        return self._policies.kept()

    def generations(self, limit: int | None = None, before: int | None = None) -> tuple[GenerationInfo, ...]:
        """Those policies, oldest first: all, or the last *limit* of those older than *before*."""
        return self._policies.generations(limit, before)

    def generation(self, number: int) -> GenerationInfo:
        """One of them with its text. Raises StateError."""
        return self._policies.generation(number)

    def settle(self) -> None:
        """Have nftables hold the lists of interfaces without XDP, which may have come or gone."""
        with self._lock:
            self._settle()
            self._committer.forward()

    def _settle(self) -> None:
        try:
            self._committer.settle()
        except (CapacityError, RulesetError) as error:
            problem = f"an interface without XDP is not guarded by lists: {error}"
            if problem != self._unsettled:
                log.warning("%s", problem)
            self._unsettled = problem
        else:
            self._unsettled = None

    def suspect(self) -> None:
        """Note that another program changed some table; `repair` looks whether it is ours."""
        self._frame.suspected = True

    def repair(self) -> bool:
        """Put the table back if another program changed it; whether one did. Raises RulesetError."""
        if not self._frame.must_look:
            return False
        try:
            seen = self._frame.look()
            with self._lock:
                return self._committer.repair(seen)
        except Exception:
            self.suspect()  # or nobody would look again
            raise

    def stateful(self) -> StatefulStatus:
        """What nftables enforces."""
        framed = self._frame.last
        rules = self._policies.policy.rules
        return StatefulStatus(
            table=bool(framed and framed.ruleset),
            rules=None if rules is None else len(rules),
            fallback=tuple(sorted(framed.names)) if framed else (),
            drift_repairs=self._frame.repairs,
        )

    def rule_counters(self) -> Mapping[str, counters.Counter]:
        """What each rule, port forward and default matched. Raises RulesetError."""
        return self._frame.counters()

    def explain_packet(self, text: str) -> Verdict:
        """What becomes of one packet by the policy in force. Raises PacketInvalid, KernelError."""
        packet = read_packet(text)
        lookup = lambda address: listed_of(self.explain(address))  # noqa: E731
        found = evaluate(self._policies.policy, packet, lookup, self._around.routes)
        # By the route back, where it was not said.
        arrives = found.arrived_by
        answer = self._dataplane.dry_run(arrives, frame_of(packet)) if arrives else None
        if answer is None:
            return found
        ban = self._dataplane.limiter.ban(packet.source) if answer.reason is Reason.BANNED else None
        return with_kernel(found, answer, self._now.compiled.image.classes, ban)

    def _guard(self, session: Session | None, *, force: bool = False) -> Check:
        """Refuses policies that would cut the caller's own session."""
        if session is None or force:
            return _anybody

        def check(policy: Policy, lists: tuple[HeldList, ...]) -> None:
            why = locked_out(policy, session, listed_in(lists, self._clock()), self._around.routes)
            if why:
                raise LockOut(f"{why}; to apply it all the same, give --force")

        return check

    def reload_program(self) -> None:
        """Replace the attached programs in place."""
        with self._lock:
            self._dataplane.reload_program()

    def detach(self) -> None:
        """End enforcement; the intended state stays saved."""
        with self._lock:
            self._dataplane.detach()

    def close(self) -> None:
        """Give up files and locks; enforcement goes on."""
        with self._lock:
            self._dataplane.close()
            self._store.close()

    # -- questions
    # ----------------------------------------------------------------------------------------------

    def explain(self, address: str) -> Explanation:
        """Why packets from *address* get their verdict, by intent and in the kernel. Raises ListInvalid."""
        try:
            entry = parse_address(address.strip())
        except InvalidEntry as error:
            raise ListInvalid(f"'{address[:60]}': {error}") from error
        now = self._now
        found = explain(entry, now, self._dataplane.lookup(str(entry)), self._clock())
        return replace(found, ban=self._dataplane.limiter.ban(str(entry)))

    def status(self) -> Status:
        """How the daemon is doing; asks the kernel about interfaces only."""
        now = self._now
        interfaces, problems = self._interfaces()
        if self._committer.problem:
            problems.append(self._committer.problem)
        problems += [each for each in (self._unsettled, self._frame.unforwarded) if each]
        return Status(
            generation=now.generation,
            engine=self._policies.policy.engine,
            lists=self.lists(),
            interfaces=tuple(interfaces),
            usage=usage_of(now.compiled, self._committer.capacity),
            problems=tuple(problems),
            warnings=self._policies.warnings,
        )

    def flow_counts(self) -> FlowCounts:
        """How many flows the kernel knows, and what happened to their tables. Raises KernelError."""
        return self._dataplane.flows.counts()

    def flows(self, query: FlowQuery) -> tuple[Sequence[Flow], int]:
        """The flows that match, up to the limit, and how many match. Raises KernelError."""
        return self._dataplane.flows.find(query)

    def limits(self) -> tuple[LimitInfo, ...]:
        """The limits of the policy in force, and what each counted. Raises KernelError."""
        return limit_infos(guards_of(self.policy), self._dataplane.fallback(), self._dataplane.limiter)

    def limit_bans(self) -> Sequence[LimitBan]:
        """Whom limits banned. Raises KernelError."""
        return self._dataplane.limiter.bans()

    def bans(self, query: BanQuery) -> BanPage:
        """Whom operators and limits block or allow. Raises ListInvalid, KernelError."""
        return bans_page(self._now, self._dataplane.limiter.bans, query, self._clock())

    def limit_ban_count(self) -> int:
        """About how many those are."""
        return self._dataplane.limiter.ban_count()

    def tend_limits(self) -> int:
        """Take out bans by limits that are over; how many. Raises KernelError."""
        return self._dataplane.limiter.tend()

    def counters(self) -> Counters:
        """What the kernel counted, by reason and by list. Raises KernelError."""
        reasons = dict(self._dataplane.reason_counters())
        for reason, counter in self._frame.packets_by_reason().items():
            reasons[reason] = reasons.get(reason, counters.Counter()) + counter
        return Counters(reasons, *self._committer.list_counters())

    def pass_on_events(self, seconds: float) -> bool:
        """Wait so long at most for events, and hand them on; False if this kernel tells nothing.

        One thread may call it. Raises KernelError.
        """
        found = self._dataplane.read_events(seconds)
        if found:
            told = self._event_names().tell(found, ahead_of_monotonic())
            self.top.note(told)
            self.on_events(told)
            self.events.publish(told)
        return found is not None

    @property
    def tells_events(self) -> bool:
        """Whether this kernel can tell of anything."""
        return self._dataplane.tells_events

    def event_tallies(self) -> Mapping[EventKind, Tally]:
        """What the kernel told, suppressed and lost, by kind; empty if it tells nothing."""
        return self._dataplane.event_tallies()

    def _event_names(self) -> Names:
        definitions = self._now.compiled.registry.defs
        return Names(
            interfaces=self._dataplane.interface_names(),
            lists={class_id: each.list for class_id, each in definitions.items()},
            limits=self._dataplane.limiter.names(),
        )

    # -- inside
    # -------------------------------------------------------------------------------------------------

    def _warn(self) -> None:
        for warning in self._policies.warnings:
            log.warning("%s", warning)

    def _interfaces(self) -> tuple[list[InterfaceStatus], list[str]]:
        try:
            interfaces = self._dataplane.interfaces()
        except KernelError as error:
            return [], [f"interfaces cannot be read: {error}"]
        return interfaces, [f"{i.name}: {i.problem}" for i in interfaces if i.problem]

    def _load(self, record: ListRecord) -> HeldList:
        """A saved list; entries that ended while the daemon was away are not in force any more."""
        if not record.timed:
            return HeldList(record, self._store.get_entries(record.sha256, record.name))
        clock, saved = self._clock(), self._store.get_terms(record.sha256, record.name)
        terms = saved.remembered(clock)
        if len(terms) < len(saved):
            record = replace(record, sha256="")
        return HeldList(record, terms.running(clock), terms)

    def _resolve(self, declared: Declared, saved: tuple[ListRecord, ...], load: Load) -> Resolved:
        sources = Sources(load, self._read, self._parser, quotes=not declared.confined)
        return resolve(declared.policy, saved, sources)


def _anybody(_policy: Policy, _lists: tuple[HeldList, ...]) -> None:
    """No session is known that could be cut."""
