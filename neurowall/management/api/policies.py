# SPDX-License-Identifier: Apache-2.0
"""What the API asks of policies; neurowall.logic.engine.Engine answers it."""

from collections.abc import Mapping
from typing import Protocol

from neurowall.logic.lockout import Session
from neurowall.logic.packetverdict import Verdict
from neurowall.logic.policyresults import GenerationInfo, PolicyChange, PolicyInForce
from neurowall.logic.results import StatefulStatus
from neurowall.model.counters import Counter
from neurowall.model.policy import Policy


class Policies(Protocol):
    """Any thread may call. Changes raise NeurowallError: PolicyError, LockOut, PendingError ..."""

    @property
    def policy(self) -> Policy:
        """The policy in force."""

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
        """Put a policy in force; with *confirm* it is taken back after so many seconds unless confirmed.

        *session* is the caller's own connection, which must survive unless *force*. confined: the caller may
        not read every file of the machine.
        """

    def plan_policy(
        self, text: str, filename: str, session: Session | None = None, *, confined: bool = False
    ) -> PolicyChange:
        """What apply_policy would do. Nothing is changed."""

    def confirm_policy(self, *, dry_run: bool = False) -> PolicyInForce:
        """Keep the policy that waits for it."""

    def rollback_policy(
        self,
        generation: int | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
        session: Session | None = None,
        confined: bool = False,
    ) -> PolicyChange:
        """Put the policy of a generation in force again; without one that before the present one."""

    def policy_now(self) -> PolicyInForce:
        """The policy in force, with its text."""

    def kept_generations(self) -> tuple[int, ...]:
        """The numbers of all generations that are kept, oldest first."""

    def generations(self, limit: int | None = None, before: int | None = None) -> tuple[GenerationInfo, ...]:
        """The last *limit* that are kept and older than *before*, oldest first, without texts."""

    def generation(self, number: int) -> GenerationInfo:
        """One of them, with its text."""

    def rule_counters(self) -> Mapping[str, Counter]:
        """What nftables counted, by named counter."""

    def explain_packet(self, text: str) -> Verdict:
        """What becomes of a packet that is described in words."""

    def stateful(self) -> StatefulStatus:
        """The stateful layer now."""
