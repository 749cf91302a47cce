# SPDX-License-Identifier: Apache-2.0
"""Policies as the test says: what the API asks, without an engine."""

from dataclasses import replace
from typing import Any

from neurowall.logic.packettext import Packet
from neurowall.logic.packetverdict import Step, Verdict
from neurowall.logic.policyresults import DiffLine, GenerationInfo, Pending, PolicyChange, PolicyInForce
from neurowall.logic.results import StatefulStatus
from neurowall.model.counters import Counter
from neurowall.model.errors import StateError
from neurowall.model.policy import Policy, load_policy

TEXT = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
rules:
  - {name: web, from: external, to: internal, protocol: tcp, ports: 443, action: accept}
  - {name: trial, from: external, to: any, action: drop, monitor: true}
  - {name: later, from: external, to: gateway, action: drop, enabled: false}
nat:
  port_forwards:
    - {name: mail, from: external, protocol: tcp, ports: 25, to: 192.0.2.9}
"""
INFO = GenerationInfo(5, 1_700_000_000.0, "apply", "/etc/policy.yaml", "first", "ab" * 32, 3, 0)
PENDING = Pending(42.0, 6, 5)
CHANGE = PolicyChange(
    generation=6,
    dry_run=False,
    differences=(DiffLine("+", "rules", "web", "accept tcp 443 from external to internal"),),
    added=1,
    removed=2,
    objects=30,
    seconds=0.25,
    warnings=("set partners is used nowhere",),
)
PACKET = Packet("tcp", "203.0.113.7", "192.0.2.10", 4711, 443)


class FakePolicies:
    """Notes what it is told, raises *failure* where there is one, and answers with its attributes."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None
        self.pending: Pending | None = None
        self.counters: dict[str, Counter] = {}
        self.kept = (replace(INFO, generation=3, note=""), INFO)
        self.texts: dict[int, str] = {}
        self.repairs = 0
        self.unreadable: StateError | None = None

    @property
    def policy(self) -> Policy:
        """TEXT."""
        return load_policy(TEXT, "policy.yaml")

    def _tell(self, verb: str, **facts: Any) -> PolicyChange:
        self.told.append((verb, facts))
        if self.failure:
            raise self.failure
        return replace(CHANGE, dry_run=facts.get("dry_run", False), pending=self.pending)

    def apply_policy(self, text: str, filename: str, **how: Any) -> PolicyChange:
        """Note it."""
        return self._tell("apply", text=text, filename=filename, **how)

    def plan_policy(self, text: str, filename: str, session: Any = None, **how: Any) -> PolicyChange:
        """Note it."""
        return self._tell("plan", text=text, filename=filename, session=session, dry_run=True, **how)

    def confirm_policy(self, *, dry_run: bool = False) -> PolicyInForce:
        """Note it."""
        self._tell("confirm", **({"dry_run": True} if dry_run else {}))
        pending, self.pending = self.pending, None
        now = self.policy_now()
        self.pending = pending if dry_run else None
        return now

    def rollback_policy(self, generation: int | None = None, **how: Any) -> PolicyChange:
        """Note it."""
        return self._tell("rollback", generation=generation, **how)

    def policy_now(self) -> PolicyInForce:
        """The last generation."""
        if self.unreadable:
            raise self.unreadable
        return PolicyInForce(replace(INFO, text=TEXT), self.pending, ("look here",))

    def kept_generations(self) -> tuple[int, ...]:
        """Two."""
        return tuple(each.generation for each in self.kept)

    def generations(self, limit: int | None = None, before: int | None = None) -> tuple[GenerationInfo, ...]:
        """Two."""
        found = [each for each in self.kept if before is None or each.generation < before]
        return tuple(found[-limit:] if limit else found)

    def generation(self, number: int) -> GenerationInfo:
        """One of them."""
        text = self.texts.get(number, TEXT)
        return next(replace(each, text=text) for each in self.kept if each.generation == number)

    def rule_counters(self) -> dict[str, Counter]:
        """As the test says."""
        return self.counters

    def explain_packet(self, text: str) -> Verdict:
        """Accepted by rule web."""
        self._tell("explain", packet=text)
        steps = (
            Step("arrival", "continue", "arrives by wan0, of zone external"),
            Step("rules", "accept", "rule web accepts it", "web"),
        )
        return Verdict(PACKET, "accept", "rules", "web", "forward", "external", "internal", PACKET, (), steps)

    def stateful(self) -> StatefulStatus:
        """A table with three rules."""
        return StatefulStatus(table=True, rules=3, fallback=(), drift_repairs=self.repairs)
